"""A parameter that reads as its nearest grid points while it is still trained."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from recbole_compress.build_cache import BuildCache, KeepsBuilt
from recbole_compress.functional.quantization import (
    Quantized,
    encode,
    fake_quantize,
    find_grid,
)
from recbole_compress.quantization.specs import TensorFormat

__all__ = ["FakeQuantizer", "without_row"]


class FakeQuantizer(KeepsBuilt):
    """Puts a tensor on a grid that was fitted to it; a parametrization of that tensor.

    Equals ``fake_quantize(x.reshape(rows), scales, zero_points, bits)`` in the shape of ``x``.
    Gradients go straight through to ``x``, and to the scales if they are learned. Out of training
    (no gradients) the result is kept until ``x`` or the scales change.

    Args:
        x: The tensor, with the numbers that the grid is fitted to.
        rows: Shape ``(n_rows, width)`` in which scales are given to it.
        format: How it is quantized.
        learn_steps: Make the scales a parameter.
        zero_row: A row that reads as zeros whatever the grid; None for none.

    Raises:
        QuantizationError: Numbers that are not finite, groups that do not divide ``width``.

    Example:
        >>> weight = nn.Parameter(torch.tensor([[0.4, -1.0], [3.0, 1.0]]))
        >>> quantizer = FakeQuantizer(weight, (2, 2), TensorFormat(bits=2, granularity="tensor"))
        >>> quantizer(weight).unique().numel() <= 4
        True

    Reference:
        Learned steps: Esser et al., ICLR 2020, arXiv:1902.08153, gradients scaled by
        ``1 / sqrt(numbers per step * largest code)``.
    """

    scales: Tensor
    zero_points: Tensor | None

    def __init__(
        self,
        x: Tensor,
        rows: tuple[int, int],
        format: TensorFormat,
        learn_steps: bool = False,
        zero_row: int | None = None,
    ) -> None:
        super().__init__()
        self.rows = rows
        self.format = format
        self.zero_row = zero_row
        scales, zero_points = find_grid(
            x.detach().reshape(rows),
            format.bits,
            format.granularity,
            format.group_size,
            format.symmetric,
            format.torch_scale_dtype,
            format.range_finder,
        )
        per_step = x.numel() / max(1, scales.numel())
        self.step_gradient = 1 / math.sqrt(max(1.0, per_step * max(1, 2 ** (format.bits - 1) - 1)))
        if learn_steps:  # in full precision while they move; used as they will be stored
            self.scales = nn.Parameter(scales.to(x.dtype))
        else:
            self.register_buffer("scales", scales)
        self.register_buffer("zero_points", zero_points)
        self._cache: BuildCache[Tensor] = BuildCache()

    def forward(self, x: Tensor) -> Tensor:
        """``x`` on the grid, in its own shape."""
        if not self._may_keep():
            return self._on_grid(x)
        sources = [x, self.scales, *([] if self.zero_points is None else [self.zero_points])]
        return self._cache.get_or_build(sources, lambda: self._on_grid(x))

    def _on_grid(self, x: Tensor) -> Tensor:
        values = fake_quantize(
            x.reshape(self.rows),
            _AsStored.apply(self.scales, self.format.torch_scale_dtype),
            self.zero_points,
            self.format.bits,
            self.step_gradient,
        ).reshape(x.shape)
        return values if self.zero_row is None else without_row(values, self.zero_row)

    def export(self, x: Tensor) -> Quantized:
        """The integers that ``x`` reads as: codes ``rows``, scales as stored, zero points."""
        scales = self.scales.detach().to(self.format.torch_scale_dtype)
        codes = encode(x.detach().reshape(self.rows), scales, self.zero_points, self.format.bits)
        return Quantized(codes, scales, self.zero_points)

    def extra_repr(self) -> str:
        return f"{self.format}, rows={self.rows}"


class _AsStored(torch.autograd.Function):
    """Numbers rounded to a dtype, in their own; gradients pass as they are.

    In half precision those of steps, about 1e-7, would all but vanish.
    """

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, dtype: torch.dtype) -> Tensor:
        return numbers.to(dtype).to(numbers.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def without_row(values: Tensor, row: int) -> Tensor:
    """``values`` with zeros in one row."""
    return values.index_fill(0, torch.tensor([row], device=values.device), 0.0)
