"""What of a model goes into a file: its encoder, its item table, its head, and how it is asked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.model.sequential_recommender import BERT4Rec, Caser
from torch import Tensor, nn

from recbole_compress.backbones.readout import LastPosition
from recbole_compress.errors import ExportError
from recbole_compress.export.encoder import LookupNode
from recbole_compress.export.lookup import DenseItems, Store, StoredItems, stored_items
from recbole_compress.export.scoring import Scorer, WholeScorer, stored_scorer
from recbole_compress.models.compressed_recommender import CompressedRecommender

__all__ = ["Source", "source_of"]


class Source(NamedTuple):
    """A model, taken apart.

    Attributes:
        model: The model itself, in evaluation mode.
        encoder: From ``item_seq`` and ``length`` (and ``user``) to hidden states, with a stand-in
            for the item table.
        tables: Parameters of the item table and the head, each a matrix with a row per item, or a
            factor of one.
        store: Puts table and head into a file.
        scores: ``(item_seq, length, user)`` to scores ``(B, n_items)``, by the model itself.
        n_items: Catalogue size, padding included.
        max_length: The longest sequence.
        padded: The model's answer depends on how much padding there is: sequences are filled up to
            ``max_length``, as RecBole fills them.
        user: The model wants to know the user.
    """

    model: nn.Module
    encoder: nn.Module
    tables: list[nn.Parameter]
    store: Callable[[Store], tuple[StoredItems, Scorer]]
    scores: Callable[[Tensor, Tensor, Tensor], Tensor]
    n_items: int
    max_length: int
    padded: bool
    user: bool


def source_of(model: nn.Module) -> Source:
    """Take a model of this package or one of RecBole's sequential ones apart.

    Raises:
        ExportError: A model without an item table, or one that needs more than a sequence.
    """
    model.eval()
    if isinstance(model, CompressedRecommender):
        if not getattr(model, "one_catalogue", True):
            raise ExportError(
                f"{type(model).__name__}: reads other items than it recommends; only models of one "
                "catalogue can be exported"
            )
        return _ours(model)
    if isinstance(model, SequentialRecommender) and _has_table(model):
        return _stock(model)
    raise ExportError(
        f"{type(model).__name__}: only sequential models that score items by a product with "
        "their item table can be exported"
    )


def _has_table(model: nn.Module) -> bool:
    return isinstance(getattr(model, "item_embedding", None), nn.Embedding)


# -- models of this package ------------------------------------------------------------------------


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


# -- RecBole's models ------------------------------------------------------------------------------


class _StockEncoder(nn.Module):
    """A model of RecBole's whose ``forward`` gives the hidden state, whatever it asks for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = _without_table(model)
        self.asks = tuple(inspect.signature(model.forward).parameters)

    def forward(self, item_seq: Tensor, length: Tensor, user: Tensor | None = None) -> Tensor:
        given = {"item_seq": item_seq, "item_seq_len": length, "user": user}
        return self.model(**{name: given[name] for name in self.asks})


class _BERT4RecEncoder(nn.Module):
    """RecBole puts the mask behind every sequence in a loop over rows, and drops the first item."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = _without_table(model)

    def forward(self, item_seq: Tensor, length: Tensor) -> Tensor:
        longer = nn.functional.pad(item_seq, (0, 1))
        column = torch.arange(longer.shape[1], device=longer.device)
        mask = torch.full_like(longer, self.model.mask_token)
        masked = torch.where(column == length.unsqueeze(1), mask, longer)
        return self.model.gather_indexes(self.model(masked[:, 1:]), length - 1)


class _CaserEncoder(nn.Module):
    """RecBole squeezes an axis that is not there, which ONNX refuses: here it is there."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = _without_table(model)
        self.model.user_embedding = _WithAxis(self.model.user_embedding)

    def forward(self, item_seq: Tensor, length: Tensor, user: Tensor) -> Tensor:
        return self.model(user, item_seq)


class _WithAxis(nn.Module):
    def __init__(self, table: nn.Module) -> None:
        super().__init__()
        self.table = table

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(ids).unsqueeze(1)


# Models whose ``forward`` is not the way from a sequence to its hidden state, or cannot be traced.
_SPECIAL: Mapping[type, type[nn.Module]] = {BERT4Rec: _BERT4RecEncoder, Caser: _CaserEncoder}


def _without_table(model: Any) -> Any:
    """A copy that shares every parameter but the item table, in whose place a stand-in is."""
    shallow = model.__class__.__new__(model.__class__)
    shallow.__dict__ = dict(model.__dict__)
    shallow._modules = dict(model._modules)
    shallow._parameters = {
        name: parameter for name, parameter in model._parameters.items() if name != "output_bias"
    }
    shallow.item_embedding = LookupNode(model.item_embedding.embedding_dim)
    return shallow


def _stock(model: Any) -> Source:
    kind = next((encoder for of, encoder in _SPECIAL.items() if isinstance(model, of)), None)
    asked = set(inspect.signature(model.forward).parameters)
    unknown = asked - {"item_seq", "item_seq_len", "user"}
    if unknown:
        raise ExportError(
            f"{type(model).__name__}: wants {', '.join(sorted(unknown))} besides the items; "
            "only models that need nothing but the sequence (and the user) can be exported"
        )
    kind = kind or _StockEncoder
    bias = getattr(model, "output_bias", None)

    def store(into: Store) -> tuple[StoredItems, Scorer]:
        items = DenseItems(into, model.item_embedding.weight, model.n_items, bias)
        return items, Scorer(items) if bias is None else WholeScorer(items)

    def scores(item_seq: Tensor, length: Tensor, user: Tensor) -> Tensor:
        interaction = {model.ITEM_SEQ: item_seq, model.ITEM_SEQ_LEN: length, model.USER_ID: user}
        return model.full_sort_predict(interaction).view(len(item_seq), -1)

    return Source(
        model,
        kind(model),
        [model.item_embedding.weight],
        store,
        scores,
        model.n_items,
        model.max_seq_length,
        padded=_depends_on_padding(scores, model.n_items, model.max_seq_length),
        user="user" in asked,
    )


@torch.no_grad()
def _depends_on_padding(scores: Callable, n_items: int, max_length: int) -> bool:
    """Whether a model says something else when the same sequences are filled up further."""
    generator = torch.Generator().manual_seed(0)
    short = max(1, max_length // 3)
    length = torch.arange(short) % short + 1
    item_seq = torch.randint(1, n_items, (short, short), generator=generator)
    item_seq = item_seq * (torch.arange(short) < length.unsqueeze(1))
    user = torch.zeros(short, dtype=torch.long)
    filled = nn.functional.pad(item_seq, (0, max_length - short))
    try:
        difference = (scores(item_seq, length, user) - scores(filled, length, user)).abs().max()
    except RuntimeError:  # a convolution over all of max_length
        return True
    return bool(difference > 1e-5 * scores(filled, length, user).abs().max())
