"""What of a model goes into a file: its encoder, its item table, its head, and how it is asked."""

from __future__ import annotations

from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn

from recbole_compress.backbones.readout import LastPosition
from recbole_compress.errors import ExportError
from recbole_compress.export.encoder import LookupNode
from recbole_compress.export.lookup import Store, StoredItems, stored_items
from recbole_compress.export.scoring import Scorer, stored_scorer
from recbole_compress.export.source import Source
from recbole_compress.export.stock_sources import no_product, stock_source
from recbole_compress.models.compressed_recommender import CompressedRecommender, has_one_catalogue

__all__ = ["source_of"]


def source_of(model: nn.Module) -> Source:
    """Take a model of this package or one of RecBole's sequential ones apart.

    Raises:
        ExportError: A model without an item table, or one that needs more than a sequence.
    """
    model.eval()
    if isinstance(model, CompressedRecommender):
        if not has_one_catalogue(model):
            raise ExportError(
                f"{type(model).__name__}: reads other items than it recommends; only models of one "
                "catalogue can be exported"
            )
        return _ours(model)
    if isinstance(model, SequentialRecommender) and _has_table(model):
        return stock_source(model)
    raise no_product(model)


def _has_table(model: nn.Module) -> bool:
    return isinstance(getattr(model, "item_embedding", None), nn.Embedding)


class _Encoder(nn.Module):
    def __init__(self, model: CompressedRecommender) -> None:
        super().__init__()
        self.lookup = LookupNode(model.item_embedding.embedding_dim)
        self.backbone = model.backbone
        self.readout = model.readout
        self.pointer = model.pointer

    def forward(self, item_seq: Tensor, length: Tensor) -> Tensor:
        vectors = self._vectors(item_seq, length)
        if self.pointer is None:
            return vectors
        return self.pointer(vectors.unsqueeze(1), item_seq, length.unsqueeze(1)).squeeze(1)

    def _vectors(self, item_seq: Tensor, length: Tensor) -> Tensor:
        states = self.backbone(self.lookup(item_seq), length)
        if not isinstance(self.readout, LastPosition):
            return self.readout.last(states, length)
        # The same, in operators that leave the number of sequences open.
        place = (length - 1).clamp(min=0).reshape(-1, 1, 1).expand(-1, 1, states.shape[2])
        return states.gather(1, place).squeeze(1)


def _ours(model: CompressedRecommender) -> Source:
    def store(into: Store) -> tuple[StoredItems, Scorer]:
        items = stored_items(model.item_embedding, into)
        return items, stored_scorer(model.item_head, into, items)

    sides = nn.ModuleList([model.item_embedding, model.item_head])
    return Source(
        model,
        _Encoder(model),
        [parameter for parameter in sides.parameters() if parameter.ndim > 1],
        store,
        lambda item_seq, length, user: model.score(item_seq, length),
        model.n_items,
        model.max_seq_length,
        padded=False,
        user=False,
    )
