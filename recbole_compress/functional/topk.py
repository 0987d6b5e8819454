"""Exact top-k of long rows, without sorting what cannot be in it."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["row_topk"]

_GROUP = 64  # columns that share one maximum
_FEW = 2**14  # entries that a plain top-k is through with before the grouping has begun


def row_topk(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` largest entries of every row, best first.

    Equals ``torch.topk(values, k, dim=1)`` up to the order of equal entries. Takes the maximum of
    every group of columns first: the ``k`` largest entries lie in the ``k`` groups with the largest
    maxima. One pass of comparisons in place of a partial sort of the whole row.

    Args:
        values: ``(rows, columns)``.
        k: At most ``columns``.

    Returns:
        Values and column indices, ``(rows, k)``.

    Example:
        >>> row_topk(torch.tensor([[1.0, 7.0, 3.0]]), 2)[1].tolist()
        [[1, 2]]
    """
    rows, columns = values.shape
    n_groups = columns // _GROUP
    if n_groups < 2 * k or values.numel() <= _FEW:  # nothing to skip
        best, indices = values.topk(k, dim=1)
        return best, indices
    grouped = values[:, : n_groups * _GROUP].view(rows, n_groups, _GROUP)
    chosen = grouped.amax(dim=2).topk(k, dim=1).indices
    members = torch.arange(_GROUP, device=values.device)
    candidates = (chosen.unsqueeze(2) * _GROUP + members).view(rows, k * _GROUP)
    rest = torch.arange(n_groups * _GROUP, columns, device=values.device)
    candidates = torch.cat([candidates, rest.expand(rows, -1)], dim=1)
    best, place = values.gather(1, candidates).topk(k, dim=1)
    return best, candidates.gather(1, place)
