"""A trained model as a teacher: frozen, and asked the same way whatever model it is."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_compress.distillation import Side
from recbole_compress.errors import ConfigError
from recbole_compress.functional.cross_entropy import linear_cross_entropy
from recbole_compress.functional.full_precision import full_precision
from recbole_compress.functional.left_out import NOT_AMONG
from recbole_compress.functional.probabilities import are_probabilities, logits_of
from recbole_compress.functional.sequence_mask import sequence_mask
from recbole_compress.models import CompressedRecommender
from recbole_compress.models.compressed_recommender import TrainingRows

__all__ = ["StockTeacher", "Teacher", "as_teacher", "no_scores"]

Scores = Callable[[slice | Tensor], Tensor]

# Prefixes that a model of RecBole reads at a time.
_ROWS = 256
# What RecBole's models call the arguments from which they make a session's vector.
_OF_FORWARD = ("item_seq", "item_seq_len")


class Teacher(abc.ABC):
    """A model that only answers: in evaluation mode, without gradients of its own.

    No ``nn.Module``, so nothing that owns one saves, counts, trains or moves its weights.

    Args:
        model: The trained model.
    """

    def __init__(self, model: Any) -> None:
        self.model = model.eval().requires_grad_(False)

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """Width of its item and session vectors, where it has both."""

    @abc.abstractmethod
    def answer(self, rows: TrainingRows, with_side: bool) -> tuple[Scores, Side | None]:
        """What the teacher says of a batch.

        Returns:
            A function from a slice of the targets to scores of all items, ``(C, n_items)``, and
            the vectors to recombine if ``with_side``.
        """

    @abc.abstractmethod
    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of states in the teacher's space over its items; differentiable."""


class _CompressedTeacher(Teacher):
    """A model of this package: one pass over a window answers for all of its positions."""

    @property
    def dim(self) -> int:
        return self.model.item_embedding.embedding_dim

    @torch.no_grad()
    def answer(self, rows: TrainingRows, with_side: bool) -> tuple[Scores, Side | None]:
        # Scored outside autocast, whatever the states were made in.
        sessions = full_precision(self.model.training_states(rows))

        def scores(which: slice | Tensor) -> Tensor:
            return self.model.item_head.scores(sessions[which])

        if not with_side:
            return scores, None
        return scores, Side(self.model.item_embedding(rows.item_seq), sessions[:, : self.dim])

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return self.model.item_head.of_vectors.loss(hidden, targets)


class StockTeacher(Teacher):
    """A sequential model of RecBole: it reads every prefix on its own, padded as in its training.

    Raises:
        ConfigError: From its methods: a model that asks for more than the sequence of items, or
            that has nothing to recombine where that is asked for.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._gives_probabilities: bool | None = None  # known once it has been asked

    @property
    def table(self) -> nn.Embedding:
        table = getattr(self.model, "item_embedding", None)
        if not isinstance(table, nn.Embedding):
            raise self._nothing_to_recombine("item table")
        return table

    @property
    def dim(self) -> int:
        return self.table.embedding_dim

    def _nothing_to_recombine(self, what: str) -> ConfigError:
        return ConfigError(
            f"teacher {type(self.model).__name__}: has no {what} to recombine; set "
            "kd_contrastive_weight=0 and kd_predictive_weight=0"
        )

    @torch.no_grad()
    def answer(self, rows: TrainingRows, with_side: bool) -> tuple[Scores, Side | None]:
        item_seq, lengths = _prefixes(rows, self.model.max_seq_length)

        def scores(which: slice | Tensor) -> Tensor:
            return self._scores(item_seq[which], lengths[which])

        return scores, self._side(rows.item_seq, item_seq, lengths) if with_side else None

    def _scores(self, item_seq: Tensor, lengths: Tensor) -> Tensor:
        model = self.model
        batch = Interaction({model.ITEM_SEQ: item_seq, model.ITEM_SEQ_LEN: lengths})
        try:
            scores = model.full_sort_predict(batch).view(len(item_seq), -1)
        except KeyError as error:
            raise ConfigError(
                f"teacher {type(model).__name__}: asks for {error}; a teacher is one that reads "
                "nothing but the sequence of items"
            ) from error
        except NotImplementedError as error:
            raise no_scores(type(model).__name__) from error
        if scores.shape[1] != model.n_items:
            raise ConfigError(
                f"teacher {type(model).__name__}: scores {scores.shape[1]} items of "
                f"{model.n_items}; take another model"
            )
        if self._gives_probabilities is None and len(scores):
            self._gives_probabilities = are_probabilities(scores)
        if self._gives_probabilities:  # as RepeatNet
            return logits_of(scores)
        return scores.clamp(min=NOT_AMONG)  # what is ruled out has the share 0, and no 0 * inf

    def _side(self, item_seq: Tensor, prefixes: Tensor, lengths: Tensor) -> Side:
        # Two tensors would do for the users and items of Caser's forward as well.
        if tuple(inspect.signature(self.model.forward).parameters) != _OF_FORWARD:
            raise self._nothing_to_recombine("session vector")
        parts = zip(prefixes.split(_ROWS), lengths.split(_ROWS), strict=True)
        try:
            sessions = torch.cat([self.model(*part) for part in parts])
        except (TypeError, AttributeError) as error:  # its forward wants, or gives, something else
            raise self._nothing_to_recombine("session vector") from error
        if sessions.shape != (len(lengths), self.dim):
            raise self._nothing_to_recombine("session vector as wide as its items")
        return Side(self.table(item_seq), sessions)

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        table = self.table.weight[: self.model.n_items]
        return linear_cross_entropy(hidden, table, targets, first_class=1)


def no_scores(model: str) -> ConfigError:
    """What to say of a model that ranks only what it is given."""
    return ConfigError(
        f"teacher {model}: gives no scores of all items; take one with full_sort_predict, such as "
        "SASRec"
    )


def as_teacher(model: Any) -> Teacher:
    """The model as a teacher; from now on it is frozen."""
    if isinstance(model, CompressedRecommender):
        return _CompressedTeacher(model)
    return StockTeacher(model)


def _prefixes(rows: TrainingRows, width: int) -> tuple[Tensor, Tensor]:
    """The sequence before each target, ``(N, width)``, and its length."""
    item_seq, lengths = rows.item_seq, rows.lengths
    if rows.trained is not None:
        row, position = rows.trained.nonzero().unbind(1)
        item_seq, lengths = item_seq[row], position + 1
    item_seq = item_seq * sequence_mask(lengths, item_seq.shape[1])
    return nn.functional.pad(item_seq, (0, width - item_seq.shape[1])), lengths
