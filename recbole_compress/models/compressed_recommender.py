"""The one recommender that all models of this package are: embedding, backbone, readout, head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn

from recbole_compress.data.item_counts import train_item_counts
from recbole_compress.data.item_vectors import train_item_vectors
from recbole_compress.data.sequence_dataset import TARGET_LIST_PREFIX
from recbole_compress.errors import ConfigError, DataError
from recbole_compress.functional.sequence_mask import sequence_mask
from recbole_compress.heads.scored_state import ScoredState
from recbole_compress.models.choices import Assembly

__all__ = [
    "CompressedRecommender",
    "TrainingRows",
    "has_one_catalogue",
    "n_readable_items",
    "name_without_pointer",
]

CHOICES = (
    "item_embedding",
    "backbone",
    "readout",
    "repeats",
    "layer_sharing",
    "item_head",
    "training_targets",
)


class TrainingRows(NamedTuple):
    """A training batch as plain tensors: ``N`` targets after ``B`` sequences or their prefixes.

    Attributes:
        item_seq: Right-padded item ids, ``(B, L)``.
        lengths: ``(B,)``.
        targets: Item ids, ``(N,)``.
        trained: The positions that have a target, bool ``(B, L)`` with ``N`` True, in the order of
            ``targets``; None for one target after each whole sequence.
    """

    item_seq: Tensor
    lengths: Tensor
    targets: Tensor
    trained: Tensor | None


class CompressedRecommender(SequentialRecommender):
    """A next-item recommender put together from one choice per axis.

    ``item ids -> item_embedding -> backbone -> readout -> (pointer) -> item_head``

    Subclasses are presets: a name and a yaml file in ``properties/model``. All positions of a
    window are trained when the batch brings a target per position (``training_targets: all``),
    the last one otherwise.

    Args:
        config: RecBole's ``Config`` (or ours).
        dataset: The train split; item frequencies are read from it and from nothing else.

    Attributes:
        one_catalogue: Whether the items it reads are those it recommends; see ``models/transfer``.
        keys_of_choices: The config keys that its parts were made with.
    """

    one_catalogue = True

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        if config["loss_type"] not in (None, "CE"):
            raise ConfigError(
                f"loss_type={config['loss_type']!r}: the models of this package train with the "
                "full cross-entropy; leave loss_type at CE"
            )
        self.TARGET_LIST = TARGET_LIST_PREFIX + self.ITEM_SEQ
        self.choices = {axis: config[axis] for axis in CHOICES}
        item_vectors = partial(train_item_vectors, dataset)
        assembly = Assembly(config, train_item_counts(dataset), item_vectors)
        self.item_embedding = assembly.item_embedding
        self.embedding_dropout = nn.Dropout(config["embedding_dropout_prob"] or 0.0)
        self.backbone = assembly.backbone
        self.readout = assembly.readout
        self.scored_state = ScoredState()
        self.pointer = assembly.pointer
        self.item_head = assembly.item_head
        self.keys_of_choices = assembly.keys_read
        self._warn_of_short_sight()

    def _warn_of_short_sight(self) -> None:
        field = self.backbone.receptive_field
        if field is not None and field < self.max_seq_length:
            self.logger.warning(
                f"the backbone sees the newest {field} items, MAX_ITEM_LIST_LENGTH is "
                f"{self.max_seq_length}: add dilations or shorten the list"
            )

    @staticmethod
    def settings_of_shapes(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
        """Settings that the data decided when a model was made, read back from its tensors' shapes.

        A rule of ``item_block_cutoffs`` looks at item counts, which are not in a checkpoint; where
        it cut shows in the tables.

        Args:
            shapes: Of the parameters and buffers, by name.
        """
        found = {}
        shapes = {name_without_pointer(name): shape for name, shape in shapes.items()}
        tables = _rows(shapes, "item_embedding.tables.")
        of_head = shapes.get("item_head.item_blocks.rank_of_id")
        if of_head is not None:
            tails = _rows(shapes, "item_head.tail_weights.")
            blocks = [of_head[0] - 1 - sum(tails), *tails]
            tables = tables or blocks
            # After a transfer they are of another catalogue than the tables, perhaps in one block.
            if tails or "item_head.weight" in shapes:
                found["target_block_cutoffs"] = list(accumulate(blocks))[:-1]
        if tables:
            found["item_block_cutoffs"] = list(accumulate(tables))[:-1]
        return found

    # -- from item ids to hidden states, plain tensors only ----------------------------------

    def hidden_states(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Hidden state after every position, ``(B, L, embedding_size)``; right-padded sequences.

        With a pointer, states are wider and carry what it points at
        (:mod:`~recbole_compress.functional.pointed_states`).

        Raises:
            DataError: An item id outside the catalogue.
        """
        states = self.backbone(self._embedded(item_seq), item_seq_len)
        vectors = self.scored_state(self.readout(states))
        if self.pointer is None:
            return vectors
        ends = torch.arange(1, item_seq.shape[1] + 1, device=item_seq.device)
        return self.pointer(vectors, item_seq, ends.unsqueeze(0))

    def _embedded(self, item_seq: Tensor) -> Tensor:
        if item_seq.numel():
            known = n_readable_items(self)
            lowest, highest = item_seq.aminmax()
            if int(lowest) < 0 or int(highest) >= known:
                wrong = item_seq[(item_seq < 0) | (item_seq >= known)][0]
                raise DataError(
                    f"item id {int(wrong)}: this model knows the ids 1 .. {known - 1} of "
                    "the data set it was trained on (0 is padding); leave unseen items out of the "
                    "sequence"
                )
        return self.embedding_dropout(self.item_embedding(item_seq))

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Hidden state after the whole sequence, ``(B, embedding_size)``.

        An empty sequence reads the state after one padding item: the same answer for everybody.
        """
        if item_seq.shape[1] == 0:
            item_seq = item_seq.new_zeros(len(item_seq), 1)
        if item_seq_len.numel():
            # What stands behind a sequence's end is not part of it, whatever it is.
            shortest, longest = (int(bound) for bound in item_seq_len.aminmax())
            item_seq = item_seq[:, : max(longest, 1)]
            if shortest < item_seq.shape[1]:
                item_seq = item_seq * sequence_mask(item_seq_len, item_seq.shape[1])
        embedded = self._embedded(item_seq)
        vectors = self.readout.of_sequence(self.backbone, embedded, item_seq_len)
        vectors = self.scored_state(vectors)
        if self.pointer is None:
            return vectors
        ends = item_seq_len.unsqueeze(1)
        return self.pointer(vectors.unsqueeze(1), item_seq, ends).squeeze(1)

    def score(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Scores of all items, ``(B, n_items)``, from tensors alone."""
        return self.item_head.scores(self.forward(item_seq, item_seq_len))

    def training_rows(self, interaction) -> TrainingRows:
        item_seq, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        if self.TARGET_LIST not in interaction:
            return TrainingRows(item_seq, lengths, interaction[self.ITEM_ID], None)
        targets = interaction[self.TARGET_LIST]
        trained = targets > 0
        return TrainingRows(item_seq, lengths, targets[trained], trained)

    def training_states(self, rows: TrainingRows) -> Tensor:
        """Hidden state that each target is predicted from, ``(N, embedding_size)``."""
        if rows.trained is None:
            return self.forward(rows.item_seq, rows.lengths)
        return self.hidden_states(rows.item_seq, rows.lengths)[rows.trained]

    # -- RecBole's interface ------------------------------------------------------------------

    def calculate_loss(self, interaction) -> Tensor:
        rows = self.training_rows(interaction)
        return self.item_head.loss(self.training_states(rows), rows.targets)

    def predict(self, interaction) -> Tensor:
        hidden = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return self.item_head(hidden, interaction[self.ITEM_ID])

    def full_sort_predict(self, interaction) -> Tensor:
        return self.score(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])

    def topk(self, interaction, k: int) -> tuple[Tensor, Tensor]:
        """Scores and ids of the ``k`` best items, ``(B, k)``; exactly those of the full ranking."""
        hidden = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return self.item_head.topk(hidden, k)


def _rows(shapes: Mapping[str, Sequence[int]], prefix: str) -> list[int]:
    """First dimensions of ``<prefix>0``, ``<prefix>1``, ... in this order."""
    found = {name.removeprefix(prefix): s for name, s in shapes.items() if name.startswith(prefix)}
    return [found[number][0] for number in sorted(found, key=int)]


def name_without_pointer(name: str) -> str:
    """What a model's parameter is called where the same model has no pointer.

    Example:
        >>> name_without_pointer("item_head.new_items.weight")
        'item_head.weight'
    """
    of_new = "item_head.new_items."
    return f"item_head.{name.removeprefix(of_new)}" if name.startswith(of_new) else name


def has_one_catalogue(model: Any) -> bool:
    """Whether the items that it reads are those it recommends: true of all but after a transfer.

    Args:
        model: Any sequential model.
    """
    return getattr(model, "one_catalogue", True)


def n_readable_items(model: Any) -> int:
    """How many item ids a sequence may hold, padding included.

    ``n_items`` counts those that are recommended: after a transfer, of another catalogue.

    Args:
        model: Any sequential model.
    """
    if isinstance(model, CompressedRecommender):
        return model.item_embedding.num_embeddings
    return model.n_items
