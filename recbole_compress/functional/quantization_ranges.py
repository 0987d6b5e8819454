"""How far a grid reaches: scales and zero points from the numbers that are to be quantized.

Every finder takes units ``(n_units, numbers per unit)`` and returns scales ``(n_units,)`` and, for
an asymmetric grid, zero points; all units at once. A unit of zeros gets the scale 0.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from recbole_compress.functional.integer_grid import dequantize, encode

__all__ = ["RANGE_FINDERS", "absolute_maximum", "mean_squared_error", "percentile"]

Grid = tuple[Tensor, Tensor | None]
# Ranges tried per unit, and steps of least squares from the best of them.
_CANDIDATES, _REFINEMENTS = 20, 3
# Numbers looked at together: what a search goes over again and again stays in the cache.
_CHUNK = 1 << 17


def absolute_maximum(units: Tensor, bits: int, symmetric: bool) -> Grid:
    """The narrowest grid that reaches every number; at one bit the magnitude is the mean one.

    Example:
        >>> absolute_maximum(torch.tensor([[-1.0, 7.0]]), bits=4, symmetric=True)
        (tensor([1.]), None)
        >>> absolute_maximum(torch.tensor([[-1.0, 2.0]]), bits=2, symmetric=False)
        (tensor([1.]), tensor([1], dtype=torch.uint8))
    """
    if symmetric:
        return _reaching(units.abs().amax(-1), units, bits), None
    return _between(units.amin(-1), units.amax(-1), bits)


def percentile(units: Tensor, bits: int, symmetric: bool, fraction: float = 0.999) -> Grid:
    """The grid that reaches ``fraction`` of the numbers of a unit, on each side if asymmetric.

    At one bit as :func:`absolute_maximum`.

    Example:
        >>> percentile(torch.arange(101.0).view(1, -1), 8, symmetric=True, fraction=0.5)[0] * 127
        tensor([50.])
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"percentile={fraction}: choose a fraction above 0, at most 1")
    n = units.shape[-1]
    k = max(1, math.ceil(fraction * n))
    if symmetric:
        return _reaching(units.abs().kthvalue(k, -1).values, units, bits), None
    low, high = units.kthvalue(n + 1 - k, -1).values, units.kthvalue(k, -1).values
    return _between(low, high, bits)


def mean_squared_error(units: Tensor, bits: int, symmetric: bool) -> Grid:
    """The grid with the smallest squared error found, never a larger one than the narrowest's.

    Clipping a few large numbers buys finer steps for all others. Ranges from the whole one down
    are tried, for symmetric grids mirrored too; from the best, codes and step are fitted to each
    other in turns. An asymmetric grid also competes with the symmetric one of its width.

    Example:
        >>> units = torch.tensor([[0.9, -1.1, 1.0, 5.0]])
        >>> scales, _ = mean_squared_error(units, bits=1, symmetric=True)
        >>> scales / 2
        tensor([2.])
    """
    if bits == 1:  # the best codes are the signs, whatever the step
        return absolute_maximum(units, bits, symmetric)
    per_chunk = max(1, _CHUNK // max(1, units.shape[-1]))
    parts = [_least_error(part, bits, symmetric) for part in units.split(per_chunk)]
    scales, zeros = zip(*parts, strict=True)
    return torch.cat(scales), None if symmetric else torch.cat(
        [zero for zero in zeros if zero is not None]
    )


def _least_error(units: Tensor, bits: int, symmetric: bool) -> Grid:
    best = _Best(units, bits)
    best.offer(*absolute_maximum(units, bits, symmetric))
    # Few codes clip a lot of a unit, many next to nothing.
    shortest = {2: 0.3, 3: 0.4, 4: 0.5}.get(bits, 0.7)
    shrinks = torch.linspace(shortest, 1.0, _CANDIDATES).tolist()
    if symmetric:
        reach = units.abs().amax(-1)
        for shrink in shrinks:
            scales = reach * (shrink / (2 ** (bits - 1) - 0.5))
            best.offer(scales, None)
            best.offer(-scales, None)
    else:
        low, high = units.amin(-1), units.amax(-1)
        for shrink in shrinks:
            best.offer(*_between(low * shrink, high * shrink, bits))
        scales, _ = _least_error(units, bits, symmetric=True)
        mirrored = scales < 0
        middle = torch.full_like(scales, 2 ** (bits - 1))
        best.offer(scales.abs(), (middle - mirrored.to(middle)).to(torch.uint8))
    for _ in range(_REFINEMENTS):
        best.fit_steps()
    return best.scales, best.zero_points


class _Best:
    """The best grid so far for every unit."""

    def __init__(self, units: Tensor, bits: int) -> None:
        self.units, self.bits = units, bits
        self.error = units.new_full(units.shape[:1], torch.nan)
        self.scales = torch.zeros_like(self.error)
        self.zero_points: Tensor | None = None

    def offer(self, scales: Tensor, zero_points: Tensor | None) -> None:
        columns = scales[:, None], None if zero_points is None else zero_points[:, None]
        codes = encode(self.units, *columns, self.bits)
        values = dequantize(codes, *columns, self.bits, self.units.dtype)
        error = (values - self.units).square().sum(-1)
        # The first one in any case: squares of huge numbers overflow, and infinity beats nothing.
        better = (error < self.error) | self.error.isnan()
        self.error = torch.where(better, error, self.error)
        self.scales = torch.where(better, scales, self.scales)
        if zero_points is not None:
            before = zero_points if self.zero_points is None else self.zero_points
            self.zero_points = torch.where(better, zero_points, before)

    def fit_steps(self) -> None:
        """Least squares of the step for the codes of now."""
        zero = None if self.zero_points is None else self.zero_points[:, None]
        codes = encode(self.units, self.scales[:, None], zero, self.bits)
        steps = dequantize(
            codes, torch.ones_like(self.scales)[:, None], zero, self.bits, self.units.dtype
        )
        square = steps.square().sum(-1)
        fitted = (steps * self.units).sum(-1) / square.clamp(min=1)
        self.offer(torch.where(square > 0, fitted, self.scales), self.zero_points)


def _reaching(reach: Tensor, units: Tensor, bits: int) -> Tensor:
    if bits == 1:
        return units.abs().mean(-1) * 2
    return reach / (2 ** (bits - 1) - 1)


def _between(low: Tensor, high: Tensor, bits: int) -> Grid:
    """A grid over ``low .. high`` and zero, which is a code of its own."""
    low, high = low.clamp(max=0), high.clamp(min=0)
    scales = (high - low) / (2**bits - 1)
    zero = (-low / torch.where(scales == 0, 1, scales)).round().clamp(0, 2**bits - 1)
    return scales, zero.to(torch.uint8)


RANGE_FINDERS: dict[str, Callable[[Tensor, int, bool], Grid]] = {
    "absolute_maximum": absolute_maximum,
    "mse": mean_squared_error,
    "percentile": percentile,
    "percentile_99": functools.partial(percentile, fraction=0.99),
}
