"""What every item head promises."""

from __future__ import annotations

import abc
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_compress.embeddings.base import check_can_take_over
from recbole_compress.functional.cross_entropy import default_chunk_size
from recbole_compress.functional.cross_entropy_checks import bounds
from recbole_compress.functional.left_out import left_out_
from recbole_compress.functional.soft_targets import soft_target_loss, soft_targets_without
from recbole_compress.functional.topk import row_topk

__all__ = ["ItemHead"]


class ItemHead(nn.Module, abc.ABC):
    """Hidden state -> scores of the catalogue. Id 0 is padding: no target and score ``-inf``.

    A new method needs ``loss``, ``scores``, ``forward``, ``macs`` and ``approximate_``; the
    conformance suite in ``tests/heads`` checks that they agree.

    Args:
        num_embeddings: Catalogue size including the padding id 0.
        embedding_dim: Width of the hidden states.
        chunk_size: Targets the loss works through at a time, which bounds its memory; None
            chooses by the number of items.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, chunk_size: int | None = None
    ) -> None:
        super().__init__()
        if num_embeddings < 2:
            raise ValueError(
                f"num_embeddings={num_embeddings}: an item head needs the padding id and at "
                "least one item; the data set seems to be empty"
            )
        if embedding_dim < 1:
            raise ValueError(f"embedding_dim={embedding_dim}: hidden states need a width of 1 up")
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f"chunk_size={chunk_size}: choose 1 or more, or None for the default")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.chunk_size = chunk_size
        self.padding_idx = 0

    @abc.abstractmethod
    def loss(self, hidden: Tensor, targets: Tensor, excluded: Tensor | None = None) -> Tensor:
        """Mean exact cross-entropy over the real items, computed in bounded memory.

        Args:
            hidden: ``(N, embedding_dim)``.
            targets: Item ids, ``(N,)``, int64, each in ``1 .. num_embeddings - 1``.
            excluded: Item ids that cannot be a row's target, ``(N, E)``, int64, each once; 0 for
                none.

        Returns:
            Scalar; 0 for no targets. With ``excluded``, that of :meth:`log_probs`.

        Raises:
            ValueError: A target that is padding or outside the catalogue.
        """

    @abc.abstractmethod
    def scores(self, hidden: Tensor) -> Tensor:
        """Scores of the whole catalogue, ``(B, num_embeddings)`` in id order, id 0 at ``-inf``.

        A fresh contiguous tensor that the caller may write into. Its softmax is the model's
        distribution: logits, or log-probabilities where the head has them anyway.
        """

    @abc.abstractmethod
    def approximate_(self, table: Tensor, hidden: Tensor) -> None:
        """Come as close as this form can to a softmax over the products with a dense table.

        Rows that the input side owns are left to it.

        Args:
            table: ``(num_embeddings, embedding_dim)``; row 0 does not count.
            hidden: States such as there will be, ``(N, embedding_dim)``, for what can be fitted on
                the whole only.

        Raises:
            ValueError: A table of another shape, or no numbers of its own to write into, as where
                they were quantized.
        """

    def output_rows(self) -> Tensor | None:
        """The table behind :meth:`scores`, ``(num_embeddings, embedding_dim)``, without a bias.

        None for a head that chooses in several steps.
        """
        return None

    @property
    def of_vectors(self) -> ItemHead:
        """The part that reads a vector and nothing else; this head, where it does."""
        return self

    def scorer(self) -> tuple[Callable[[Tensor], Tensor], tuple[Tensor, ...]]:
        """:meth:`scores` for several calls in one training step, and what they are functions of.

        What stands in column 0 of these scores means nothing.

        Returns:
            The function, and the tensors besides ``hidden`` that its gradients end in.
        """
        return self.scores, tuple(self.parameters())

    def log_probs(self, hidden: Tensor, excluded: Tensor) -> Tensor:
        """Log-probabilities among what is not excluded, ``(N, num_embeddings)``, a fresh tensor.

        Equals::

            scores(hidden).scatter(1, excluded, -torch.inf).log_softmax(1)

        or what a head that chooses in several steps makes of it, leaving items out at each. What
        stands at excluded items and at padding is low and means nothing.

        Args:
            hidden: ``(N, embedding_dim)``.
            excluded: Item ids, int64 ``(N, E)``, each once in a row; 0 for none.
        """
        return left_out_(self.scores(hidden), excluded).log_softmax(1)

    def log_prob_scorer(
        self,
    ) -> tuple[Callable[[Tensor, Tensor], Tensor], tuple[Tensor, ...]]:
        """:meth:`log_probs` for several calls in one training step, as :meth:`scorer` has it."""
        scores, tensors = self.scorer()

        def log_probs(hidden: Tensor, excluded: Tensor) -> Tensor:
            return left_out_(scores(hidden), F.pad(excluded, (1, 0))).log_softmax(1)

        return log_probs, tensors

    def log_prob_topk(self, hidden: Tensor, excluded: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The ``k`` best by :meth:`log_probs`, best first: values and ids, ``(B, k)``.

        Where little else is left, excluded items and padding may be among them, with any value.
        """
        told = left_out_(self.scores(hidden), F.pad(excluded, (1, 0)))
        values, ids = row_topk(told, k)
        return values - told.logsumexp(1, keepdim=True), ids

    def soft_target_loss(
        self,
        hidden: Tensor,
        teacher_scores: Callable[[slice], Tensor],
        temperature: float = 1.0,
        reduction: str = "mean",
        targets: Tensor | None = None,
        weights: tuple[float, float] = (1.0, 0.0),
    ) -> Tensor:
        """Divergence from a teacher's distribution, and the cross-entropy if there are targets.

        :func:`~recbole_compress.functional.soft_targets.soft_target_loss` of :meth:`scores`, whose
        arguments these are; a head may know a shorter way to the same.
        """
        scores, tensors = self.scorer()
        return soft_target_loss(
            hidden,
            scores,
            tensors,
            teacher_scores,
            self.num_embeddings,
            temperature,
            reduction,
            self.chunk_size,
            targets,
            weights,
        )

    def soft_targets_without(
        self, hidden: Tensor, teacher_scores: Callable[[slice], Tensor], excluded: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The divergence's terms of items that are not excluded, and the teacher's other shares.

        :func:`~recbole_compress.functional.soft_targets.soft_targets_without` of
        :meth:`scores`; a head that chooses in several steps leaves items out at each.
        """
        scores, tensors = self.scorer()
        return soft_targets_without(
            hidden, scores, tensors, teacher_scores, excluded, self.num_embeddings, self.chunk_size
        )

    @abc.abstractmethod
    def forward(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """Score of one id per row, ``(B,)``; equals ``scores(hidden).gather(1, ids[:, None])``."""

    def item_scores(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """Scores of some ids per row, ``(B, k)``; equals ``scores(hidden).gather(1, ids)``."""
        rows = hidden.repeat_interleave(ids.shape[1], 0)
        return self(rows, ids.reshape(-1)).view(ids.shape)

    def _check_table(self, table: Tensor) -> None:
        check_can_take_over(self, table, (self.num_embeddings, self.embedding_dim))

    def _few_rows_at_a_time(
        self, score: Callable[[Tensor, Tensor], Tensor], hidden: Tensor, ids: Tensor
    ) -> Tensor:
        """``score(hidden, ids)``, for a score of one item that asks for all others.

        Where no gradient wants the others kept, memory is that of a chunk of the loss.
        """
        if torch.is_grad_enabled():
            return score(hidden, ids)
        rows = default_chunk_size(self.num_embeddings, hidden.device)
        return torch.cat(
            [score(*each) for each in zip(hidden.split(rows), ids.split(rows), strict=True)]
        )

    @abc.abstractmethod
    def macs(self) -> int:
        """Multiply-adds of :meth:`scores` for one hidden state."""

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Exactly the ``k`` best of :meth:`scores`, best first: values and ids, ``(B, k)``.

        Raises:
            ValueError: ``k`` below 1 or above the number of items.
        """
        self._check_k(k)
        return row_topk(self.scores(hidden), k)

    def _check_k(self, k: int) -> None:
        if not 1 <= k < self.num_embeddings:
            raise ValueError(f"k={k}: choose 1 .. {self.num_embeddings - 1}, the number of items")

    def _check_targets(self, targets: Tensor) -> None:
        if len(targets) == 0:
            return
        lowest, highest = bounds(targets)
        if lowest < 1 or highest >= self.num_embeddings:
            raise ValueError(
                f"targets from {lowest} to {highest}: expected item ids 1 .. "
                f"{self.num_embeddings - 1}; 0 is padding, leave it out of the loss"
            )

    def _mask_padding(self, scores: Tensor, ids: Tensor) -> Tensor:
        """Scores of single ids with ``-inf`` where the id is padding."""
        return scores.masked_fill(ids == self.padding_idx, -torch.inf)

    def extra_repr(self) -> str:
        return f"num_embeddings={self.num_embeddings}, embedding_dim={self.embedding_dim}"
