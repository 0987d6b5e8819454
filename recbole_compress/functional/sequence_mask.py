"""Where right-padded sequences have their items."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["sequence_mask"]


def sequence_mask(lengths: Tensor, width: int) -> Tensor:
    """Whether a place lies before the end of its sequence, bool ``(B, width)``.

    Args:
        lengths: Integer ``(B,)``.
        width: Places of every row, as many as the longest sequence has, or more.

    Example:
        >>> sequence_mask(torch.tensor([2, 0]), width=3)
        tensor([[ True,  True, False],
                [False, False, False]])
    """
    return torch.arange(width, device=lengths.device) < lengths.unsqueeze(1)
