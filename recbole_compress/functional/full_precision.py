"""Out of the short floats of autocast."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["full_precision"]


def full_precision(x: Tensor) -> Tensor:
    """``x`` in float32, or as it is where it has more digits.

    Example:
        >>> full_precision(torch.ones(1, dtype=torch.bfloat16)).dtype
        torch.float32
        >>> full_precision(torch.ones(1, dtype=torch.float64)).dtype
        torch.float64
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
