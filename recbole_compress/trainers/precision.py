"""How exactly training multiplies matrices, of float32 and under autocast."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["autocast_dtype", "matmul_precision"]


@contextlib.contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """``torch.set_float32_matmul_precision`` for the length of a block.

    Weights, sums and everything but the products themselves stay float32. With ``"medium"``
    processors with bfloat16 units, and GPUs, may round what enters a product to bfloat16; with
    ``"high"`` GPUs may use TF32. Hardware without such units computes as with ``"highest"``.

    Args:
        precision: ``"highest"``, ``"high"`` or ``"medium"``.

    Raises:
        RuntimeError: Another name (torch's own message).

    Example:
        >>> with matmul_precision("medium"):
        ...     torch.get_float32_matmul_precision()
        'medium'
        >>> torch.get_float32_matmul_precision()
        'highest'
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def autocast_dtype(device: torch.device, dtype: str | None) -> Iterator[None]:
    """What ``torch.autocast`` computes in where it is not told, for the length of a block.

    RecBole's ``enable_amp`` opens autocast without a dtype. On GPUs that is float16, whose
    gradients underflow without ``enable_scaler``; bfloat16 has the range of float32.

    Args:
        device: Where the training takes place.
        dtype: ``"bfloat16"``, ``"float16"``, or None for what it is.

    Example:
        >>> with autocast_dtype(torch.device("cuda"), "bfloat16"):
        ...     torch.get_autocast_dtype("cuda")
        torch.bfloat16
        >>> torch.get_autocast_dtype("cuda")
        torch.float16
    """
    before = torch.get_autocast_dtype(device.type)
    torch.set_autocast_dtype(device.type, getattr(torch, dtype) if dtype else before)
    try:
        yield
    finally:
        torch.set_autocast_dtype(device.type, before)
