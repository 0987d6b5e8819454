"""Tensors as integers of 1 to 8 bits, and back.

``integer_grid`` says what a code means, ``quantization_ranges`` how a grid is fitted to numbers,
``bit_packing`` how codes are stored; here they meet.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from recbole_compress.errors import QuantizationError
from recbole_compress.functional.full_precision import full_precision
from recbole_compress.functional.integer_grid import (
    check_bits,
    check_numbers,
    dequantize,
    encode,
    fake_quantize,
    scale_shape,
)
from recbole_compress.functional.quantization_ranges import RANGE_FINDERS
from recbole_compress.near_names import did_you_mean

__all__ = ["Quantized", "dequantize", "encode", "fake_quantize", "find_grid", "quantize"]


class Quantized(NamedTuple):
    """A tensor as integers; ``dequantize(*quantized, bits)`` gives it back.

    Attributes:
        codes: uint8, shape of the tensor.
        scales: As stored, one per unit; see
            :func:`~recbole_compress.functional.integer_grid.scale_shape`.
        zero_points: uint8, shape of ``scales``; None for a symmetric grid.
    """

    codes: Tensor
    scales: Tensor
    zero_points: Tensor | None


def find_grid(
    x: Tensor,
    bits: int,
    granularity: str = "row",
    group_size: int | None = None,
    symmetric: bool = True,
    scale_dtype: torch.dtype = torch.float32,
    range_finder: str = "mse",
) -> tuple[Tensor, Tensor | None]:
    """Scales, in the dtype they are stored in, and zero points of a grid for ``x``.

    Args:
        x: Floating, ``(*lead, width)``, finite.
        bits: 1 .. 8.
        granularity: ``"tensor"``, ``"row"`` or ``"group"``.
        group_size: For groups: numbers per group, a divisor of ``width``.
        symmetric: Without zero points.
        scale_dtype: Of the stored scales; codes are chosen for the scales as stored.
        range_finder: A name in
            :data:`~recbole_compress.functional.quantization_ranges.RANGE_FINDERS`.

    Raises:
        QuantizationError: Any argument that cannot be used; numbers that are not finite, or too
            large or, all of them, too small for ``scale_dtype``.

    Example:
        >>> scales, zero_points = find_grid(torch.randn(10, 64), 4, "group", 32, symmetric=False)
        >>> scales.shape, zero_points.dtype
        (torch.Size([10, 2]), torch.uint8)
    """
    check_bits(bits, symmetric)
    if range_finder not in RANGE_FINDERS:
        raise QuantizationError(
            f"range_finder={range_finder!r}: {did_you_mean(str(range_finder), RANGE_FINDERS)}"
        )
    shape = scale_shape(tuple(x.shape), granularity, group_size)
    check_numbers(x)
    n_units = 1
    for size in shape:
        n_units *= size
    units = full_precision(x.detach()).reshape(n_units, x.numel() // max(1, n_units))
    scales, zero_points = RANGE_FINDERS[range_finder](units, bits, symmetric)
    stored = scales.to(scale_dtype)
    largest = scales.abs().max().item() if scales.numel() else 0.0
    # Rows that are next to nothing beside others may be lost; a whole tensor may not.
    if not torch.isfinite(stored).all() or 0 < largest < torch.finfo(scale_dtype).tiny:
        raise QuantizationError(
            f"scale_dtype={str(scale_dtype).removeprefix('torch.')}: cannot hold a scale of "
            f"{largest:.4g}; "
            + ("scale the numbers" if scale_dtype == torch.float32 else "take float32")
        )
    return stored.reshape(shape), None if zero_points is None else zero_points.reshape(shape)


def quantize(
    x: Tensor,
    bits: int,
    granularity: str = "row",
    group_size: int | None = None,
    symmetric: bool = True,
    scale_dtype: torch.dtype = torch.float32,
    range_finder: str = "mse",
) -> Quantized:
    """Codes of ``x`` on a grid fitted to it; arguments and errors as in :func:`find_grid`.

    Example:
        >>> x = torch.tensor([[-1.0, 0.2, 0.9], [0.0, 0.0, 0.0]])
        >>> codes, scales, _ = quantize(x, bits=2, range_finder="absolute_maximum")
        >>> codes.tolist(), scales.tolist()
        ([[1, 2, 3], [2, 2, 2]], [[1.0], [0.0]])
        >>> dequantize(codes, scales, None, bits=2)
        tensor([[-1.,  0.,  1.],
                [ 0.,  0.,  0.]])
    """
    scales, zero_points = find_grid(
        x, bits, granularity, group_size, symmetric, scale_dtype, range_finder
    )
    return Quantized(encode(x.detach(), scales, zero_points, bits), scales, zero_points)
