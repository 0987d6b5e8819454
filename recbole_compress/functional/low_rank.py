"""From a dense matrix to two narrow ones."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["low_rank_factors"]


def low_rank_factors(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """``rows @ projection``, the matrix of this rank closest to ``matrix`` (Eckart and Young).

    The projection's entries have the size that a fresh one has, a variance of ``1 / rank``, so that
    learning rates mean what they meant.

    Args:
        matrix: ``(n, dim)``, floating.
        rank: 1 .. ``dim``; ranks beyond the matrix's own are filled with zeros.

    Returns:
        ``(n, rank)`` and ``(rank, dim)``.

    Example:
        >>> matrix = torch.tensor([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
        >>> rows, projection = low_rank_factors(matrix, rank=1)
        >>> torch.allclose(rows @ projection, matrix, atol=1e-5)
        True
    """
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    n, dim = matrix.shape
    found = min(rank, len(values))
    # Rows of `right` have the norm 1.
    size = (dim / rank) ** 0.5
    rows, projection = matrix.new_zeros(n, rank), matrix.new_zeros(rank, dim)
    rows[:, :found] = left[:, :found] * values[:found] / size
    projection[:found] = right[:found] * size
    return rows, projection
