"""What every item embedding promises."""

from __future__ import annotations

import abc
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.utils import parametrize

from recbole_compress.functional.cross_entropy import linear_cross_entropy
from recbole_compress.functional.topk import row_topk

__all__ = ["ItemEmbedding", "check_can_take_over"]


def check_can_take_over(part: nn.Module, table: Tensor, wanted: tuple[int, int]) -> None:
    """Refuse to give ``part`` a dense table that is not of this shape, or where nothing would stay.

    Raises:
        ValueError: So. What is quantized computes its numbers: written into, they are lost.
    """
    if tuple(table.shape) != wanted:
        raise ValueError(f"a table of shape {tuple(table.shape)}: expected {wanted}")
    if any(parametrize.is_parametrized(module) for module in part.modules()):
        raise ValueError("quantized already: take over a table first, then quantize")


class ItemEmbedding(nn.Module, abc.ABC):
    """Item id -> vector. Id 0 is padding and reads as zeros.

    A new method needs ``forward``, ``dense_weight`` and ``approximate_``; the conformance suite in
    ``tests/embeddings`` checks that they say the same. Where the table is built from factors,
    ``scores``, ``scores_macs`` and ``cross_entropy`` are what a tied head asks for, and can mostly
    be had for less than the table.

    Args:
        num_embeddings: Catalogue size including the padding id 0.
        embedding_dim: Width of the vectors handed out.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        if num_embeddings < 2:
            raise ValueError(
                f"num_embeddings={num_embeddings}: an item table needs the padding id and at "
                "least one item; the data set seems to be empty"
            )
        if embedding_dim < 1:
            raise ValueError(f"embedding_dim={embedding_dim}: a vector needs a width of 1 or more")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = 0

    @abc.abstractmethod
    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of ``ids``, ``(*ids.shape, embedding_dim)``; equals ``dense_weight()[ids]``."""

    @abc.abstractmethod
    def dense_weight(self) -> Tensor:
        """The table this embedding stands for, ``(num_embeddings, embedding_dim)``, row 0 zero.

        Differentiable. May be slow and large: it is the truth for tests.
        """

    @abc.abstractmethod
    def approximate_(self, table: Tensor) -> None:
        """Take the values, of those that this form can have, that are closest to a dense table's.

        Args:
            table: ``(num_embeddings, embedding_dim)``; row 0 does not count.

        Raises:
            ValueError: A table of another shape, or no numbers of its own to write into, as where
                they were quantized.
        """

    def _check_table(self, table: Tensor) -> None:
        check_can_take_over(self, table, (self.num_embeddings, self.embedding_dim))

    def scores(self, hidden: Tensor) -> Tensor:
        """Products with the vectors of all items: ``(B, embedding_dim) -> (B, num_embeddings)``.

        Equals ``hidden @ dense_weight().T``, but what stands in column 0, the padding id's, means
        nothing. A fresh contiguous tensor that the caller may write into.
        """
        return hidden @ self.dense_weight().T

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The ``k`` best items by :meth:`scores`, best first: values and ids, ``(B, k)``."""
        values, places = row_topk(self.scores(hidden)[:, 1:], k)
        return values, places + 1

    def scorer(self) -> tuple[Callable[[Tensor], Tensor], tuple[Tensor, ...]]:
        """:meth:`scores` for several calls in one training step, and what they are functions of.

        Returns:
            The function, and the tensors besides ``hidden`` that its gradients end in; what is
            built from parameters once for all calls is one of them.
        """
        return self.scores, tuple(self.parameters())

    def scores_macs(self) -> int:
        """Multiply-adds of :meth:`scores` for one hidden state."""
        return self.num_embeddings * self.embedding_dim

    def cross_entropy(
        self,
        hidden: Tensor,
        targets: Tensor,
        chunk_size: int | None = None,
        excluded: Tensor | None = None,
    ) -> Tensor:
        """Mean cross-entropy over the real items of :meth:`scores`, in bounded memory.

        Equals ``F.cross_entropy(hidden @ dense_weight()[1:].T, targets - 1)``.

        Args:
            hidden: ``(N, embedding_dim)``.
            targets: ``(N,)``, ids from 1 to ``num_embeddings - 1``.
            chunk_size: See :func:`~recbole_compress.functional.cross_entropy.linear_cross_entropy`.
            excluded: Ids that are left out of a row, ``(N, E)``; 0 leaves out nothing.
        """
        return linear_cross_entropy(
            hidden,
            self.dense_weight(),
            targets,
            first_class=1,
            excluded=excluded,
            chunk_size=chunk_size,
        )

    def extra_repr(self) -> str:
        return f"num_embeddings={self.num_embeddings}, embedding_dim={self.embedding_dim}"
