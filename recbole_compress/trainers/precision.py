"""How exactly training multiplies matrices of float32."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["matmul_precision"]


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
