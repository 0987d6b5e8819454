"""Columns that a row of logits has no part in."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["NOT_AMONG", "left_out"]

# Added to a logit that is left out. Finite: where everything is, a share of nothing is no NaN.
NOT_AMONG = -1e30


def left_out(logits: Tensor, excluded: Tensor) -> Tensor:
    """Logits that are very low in some columns; overwritten where they need no gradient.

    Equals, for columns that there are::

        logits[n, excluded[n]] += NOT_AMONG

    Args:
        logits: ``(N, C)``.
        excluded: Integer ``(N, E)``; what lies outside the columns leaves out nothing.

    Example:
        >>> left_out(torch.zeros(1, 3), torch.tensor([[2, 7, -1]])).softmax(1)
        tensor([[0.5000, 0.5000, 0.0000]])
    """
    inside = (excluded >= 0) & (excluded < logits.shape[1])
    # Added, so that what lies outside can go anywhere as a zero, and no device has to wait.
    added = torch.zeros_like(excluded, dtype=logits.dtype).masked_fill(inside, NOT_AMONG)
    add = logits.scatter_add if logits.requires_grad else logits.scatter_add_
    return add(1, excluded.clamp(0, logits.shape[1] - 1), added)
