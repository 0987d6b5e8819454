"""Columns that a row of logits has no part in."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["NOT_AMONG", "left_out_", "taken_out_"]

# Added to a logit that is left out. Finite: where everything is, a share of nothing is no NaN.
NOT_AMONG = -1e30


def left_out_(logits: Tensor, excluded: Tensor) -> Tensor:
    """Logits that are very low in some columns; overwritten where they need no gradient.

    Equals, for columns that there are::

        logits[n, excluded[n]] += NOT_AMONG

    Args:
        logits: ``(N, C)``.
        excluded: Integer ``(N, E)``; what lies outside the columns leaves out nothing.

    Example:
        >>> left_out_(torch.zeros(1, 3), torch.tensor([[2, 7, -1]])).softmax(1)
        tensor([[0.5000, 0.5000, 0.0000]])
    """
    if logits.dtype == torch.float16:  # which has no number so low
        logits = logits.float()
    inside = (excluded >= 0) & (excluded < logits.shape[1])
    # Added, so that what lies outside can go anywhere as a zero, and no device has to wait.
    added = torch.zeros_like(excluded, dtype=logits.dtype).masked_fill(inside, NOT_AMONG)
    add = logits.scatter_add if logits.requires_grad else logits.scatter_add_
    return add(1, excluded.clamp(0, logits.shape[1] - 1), added)


def taken_out_(shares: Tensor, excluded: Tensor) -> Tensor:
    """What is given to some columns, which have 0 from now on.

    Equals, for columns that there are, each once in a row::

        taken, shares[n, excluded[n]] = shares[n, excluded[n]], 0

    Args:
        shares: ``(N, C)``; overwritten.
        excluded: Integer ``(N, E)``; outside the columns nothing is given.

    Example:
        >>> shares = torch.tensor([[0.5, 0.2, 0.3]])
        >>> taken_out_(shares, torch.tensor([[2, 7, -1]])), shares
        (tensor([[0.3000, 0.0000, 0.0000]]), tensor([[0.5000, 0.2000, 0.0000]]))
    """
    inside = (excluded >= 0) & (excluded < shares.shape[1])
    columns = excluded.clamp(0, shares.shape[1] - 1)
    taken = shares.gather(1, columns) * inside
    shares.scatter_add_(1, columns, -taken)
    return taken
