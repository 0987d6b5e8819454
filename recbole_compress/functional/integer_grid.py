"""Integers for numbers: the grids, defined once for training, storage and export.

A tensor is cut into *units* that share a scale: all of it, its rows, or groups of consecutive
numbers along its last dimension. Within a unit a number becomes an unsigned code::

    code  = clamp(round(x / scale + zero_point), 0, 2 ** bits - 1)
    value = (code - zero_point) * scale

==================== ========================== ==============================================
symmetric            zero point                 grid, in scales
==================== ========================== ==============================================
yes, 2 .. 8 bits     ``2 ** (bits - 1)``        ``-2 ** (bits - 1)`` .. ``2 ** (bits - 1) - 1``
yes, 1 bit           1/2                        -1/2 and 1/2: a sign, no zero
no, 2 .. 8 bits      stored, uint8, per unit    from ``-zero_point``, ``2 ** bits`` of them
==================== ========================== ==============================================

Which unit a number belongs to follows from the shape of the scales: ``()`` + ``(1,)`` for a whole
tensor, ``(*lead, 1)`` for rows, ``(*lead, width / group_size)`` for groups. A scale may be negative
(the grid is then the mirrored one, whose longer side is the positive one) and is 0 for a unit of
zeros, which stays one at any width.

With 2, 4 or 8 bits and groups of a power of two from 16 on, codes packed by
:func:`~recbole_compress.functional.bit_packing.pack`, scales and zero points are byte for byte what
ONNX Runtime's ``MatMulNBits`` and ``GatherBlockQuantized`` read: unsigned, blocks along the last
dimension, ``2 ** (bits - 1)`` where no zero point is given.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from recbole_compress.errors import QuantizationError
from recbole_compress.functional.full_precision import full_precision
from recbole_compress.near_names import did_you_mean

__all__ = [
    "GRANULARITIES",
    "check_bits",
    "check_numbers",
    "dequantize",
    "encode",
    "fake_quantize",
    "scale_shape",
    "zero_point_of",
]

GRANULARITIES = ("tensor", "row", "group")


def check_bits(bits: Any, symmetric: bool = True, name: str = "bits") -> int:
    """``bits`` if there is such a grid.

    Raises:
        QuantizationError: No whole number from 1 to 8, or one bit without symmetry.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
        raise QuantizationError(f"{name}={bits}: choose a whole number from 1 to 8, or 32 for none")
    if bits == 1 and not symmetric:
        raise QuantizationError(
            f"{name}=1 with symmetric=False: one bit tells signs apart, and no more; take a "
            "symmetric grid or 2 bits"
        )
    return bits


def scale_shape(
    shape: tuple[int, ...], granularity: str = "row", group_size: int | None = None
) -> tuple[int, ...]:
    """Shape of the scales of a tensor of ``shape``.

    Args:
        shape: ``(*lead, width)``.
        granularity: ``"tensor"``, ``"row"`` (of the last dimension) or ``"group"`` (along it).
        group_size: Numbers per group; must divide ``width``.

    Raises:
        QuantizationError: An unknown granularity, or groups that do not come out even.

    Example:
        >>> [scale_shape((10, 64), *g) for g in (("tensor",), ("row",), ("group", 16))]
        [(1,), (10, 1), (10, 4)]
    """
    if granularity not in GRANULARITIES:
        raise QuantizationError(
            f"granularity={granularity!r}: {did_you_mean(str(granularity), GRANULARITIES)}"
        )
    if granularity == "tensor":
        return (1,)
    *lead, width = shape
    if granularity == "row":
        return (*lead, 1)
    if not group_size or group_size < 1 or width % group_size:
        raise QuantizationError(
            f"group_size={group_size}: does not divide the width {width}; choose a divisor such "
            f"as {math.gcd(width, group_size or 32)}, or granularity=row"
        )
    return (*lead, width // group_size)


def zero_point_of(zero_points: Tensor | None, bits: int) -> Tensor | float:
    """What stands for zero: the zero points, or what a symmetric grid has in their place.

    Example:
        >>> zero_point_of(None, 4), zero_point_of(None, 1)
        (8.0, 0.5)
    """
    if zero_points is not None:
        return zero_points
    return 0.5 if bits == 1 else 2.0 ** (bits - 1)


def check_numbers(x: Tensor, name: str | None = None) -> None:
    """Refuse what has no place on any grid.

    Args:
        x: Any.
        name: For the message.

    Raises:
        QuantizationError: NaN or infinite numbers.
    """
    if not torch.isfinite(x).all():
        wrong = int((~torch.isfinite(x)).sum())
        of_it = "" if name is None else f"{name}: "
        raise QuantizationError(
            f"{of_it}{wrong} of {x.numel()} numbers are NaN or infinite; a model that training "
            "broke cannot be quantized, take an earlier checkpoint"
        )


def encode(x: Tensor, scales: Tensor, zero_points: Tensor | None, bits: int) -> Tensor:
    """The codes of the grid points nearest to ``x``.

    Args:
        x: Floating, ``(*lead, width)``.
        scales: One per unit, as stored; see :func:`scale_shape`.
        zero_points: uint8 like ``scales``, or None for a symmetric grid.
        bits: 1 .. 8.

    Returns:
        uint8, shape of ``x``.

    Example:
        >>> encode(torch.tensor([-9.0, 0.0, 0.6]), torch.tensor([0.5]), None, bits=2)
        tensor([0, 2, 3], dtype=torch.uint8)
    """
    # Short floats would round to the grid of their own digits first.
    units, zero, scale = _units(full_precision(x), scales, zero_points, bits)
    return _nearest(units, zero, scale, bits).to(torch.uint8).reshape(x.shape)


def dequantize(
    codes: Tensor,
    scales: Tensor,
    zero_points: Tensor | None,
    bits: int,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The numbers that codes stand for; see :func:`encode`.

    Args:
        codes: uint8.
        scales: As stored; its dtype does not matter to the result's.
        zero_points: As in :func:`encode`.
        bits: 1 .. 8.
        dtype: Of the result.

    Example:
        >>> dequantize(torch.tensor([0, 1], dtype=torch.uint8), torch.tensor([2.0]), None, bits=1)
        tensor([-1.,  1.])
    """
    precise = torch.promote_types(dtype, torch.float32)
    units, zero, scale = _units(codes.to(precise), scales, zero_points, bits)
    return _values(units, zero, scale).reshape(codes.shape).to(dtype)


def fake_quantize(
    x: Tensor,
    scales: Tensor,
    zero_points: Tensor | None,
    bits: int,
    step_gradient: float = 1.0,
) -> Tensor:
    """``x`` on the grid, for training.

    Equals ``dequantize(encode(x, ...), ..., x.dtype)`` to the last bit. Gradients go straight
    through for numbers that rounding alone brings to the grid, up to half a step beyond its ends,
    and stop for those that are clipped; those of the scales are the learned step size's.

    Args:
        x: Floating, ``(*lead, width)``.
        scales: As in :func:`encode`; may want a gradient.
        zero_points: As in :func:`encode`.
        bits: 1 .. 8.
        step_gradient: Factor on the gradient of the scales.

    Returns:
        Shape and dtype of ``x``.

    Example:
        >>> x = torch.tensor([0.4, 9.0], requires_grad=True)
        >>> y = fake_quantize(x, torch.tensor([1.0]), None, bits=3)
        >>> y.sum().backward(); y, x.grad
        (tensor([0., 3.], grad_fn=<_FakeQuantizeBackward>), tensor([1., 0.]))

    Reference:
        Esser et al., "Learned Step Size Quantization", ICLR 2020, arXiv:1902.08153, equations 1-3.
        Differs: there clipping begins at the ends.
    """
    return _FakeQuantize.apply(x, scales, zero_points, bits, step_gradient)


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scales: Tensor,
        zero_points: Tensor | None,
        bits: int,
        step_gradient: float,
    ) -> Tensor:
        ctx.save_for_backward(x, scales, zero_points)
        ctx.bits, ctx.step_gradient = bits, step_gradient
        units, zero, scale = _units(full_precision(x), scales, zero_points, bits)
        values = _values(_nearest(units, zero, scale, bits), zero, scale)
        return values.reshape(x.shape).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, scales, zero_points = ctx.saved_tensors
        units, zero, scale = _units(full_precision(x), scales, zero_points, ctx.bits)
        place = _place(units, zero, scale)
        inside = (place >= -0.5) & (place <= 2**ctx.bits - 0.5)
        of_units = gradient.reshape(units.shape)
        of_x = (of_units * inside).reshape(x.shape).to(x.dtype) if ctx.needs_input_grad[0] else None
        of_scales = None
        if ctx.needs_input_grad[1]:
            nearest = place.round().clamp(0, 2**ctx.bits - 1)
            step = torch.where(inside, nearest - place, nearest - zero)
            of_scales = (of_units * step).sum(-1).mul_(ctx.step_gradient)
            of_scales = of_scales.reshape(scales.shape).to(scales.dtype)
        return of_x, of_scales, None, None, None


def _units(
    x: Tensor, scales: Tensor, zero_points: Tensor | None, bits: int
) -> tuple[Tensor, Tensor | float, Tensor]:
    """``x`` as ``(*scales.shape, numbers per unit)``, with zero points and scales to match."""
    per_unit = x.numel() // max(1, scales.numel())
    zero = zero_point_of(zero_points, bits)
    if isinstance(zero, Tensor):
        zero = zero.to(x.dtype).unsqueeze(-1)
    return x.reshape(*scales.shape, per_unit), zero, scales.to(x.dtype).unsqueeze(-1)


def _place(units: Tensor, zero: Tensor | float, scale: Tensor) -> Tensor:
    """Where numbers lie between the codes; those of a unit without a scale lie on its zero."""
    return units / torch.where(scale == 0, torch.inf, scale) + zero


def _nearest(units: Tensor, zero: Tensor | float, scale: Tensor, bits: int) -> Tensor:
    return _place(units, zero, scale).round_().clamp_(0, 2**bits - 1)


def _values(codes: Tensor, zero: Tensor | float, scale: Tensor) -> Tensor:
    return (codes - zero) * scale
