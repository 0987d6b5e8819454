"""A parameter that is stored as packed integers and read as the numbers they stand for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_compress.build_cache import BuildCache
from recbole_compress.functional.bit_packing import pack, packed_size, unpack
from recbole_compress.functional.integer_grid import dequantize, scale_shape
from recbole_compress.functional.quantization import Quantized
from recbole_compress.quantization.fake_quantizer import without_row
from recbole_compress.quantization.specs import TensorFormat

__all__ = ["PackedWeight"]


class PackedWeight(nn.Module):
    """Reads packed codes, ``(n_rows, bytes per row)``; a parametrization of that tensor.

    The numbers are those of the :class:`~recbole_compress.quantization.FakeQuantizer` that the
    codes came from, to the last bit. They are kept, never saved, until codes or scales change.

    Args:
        shape: Of the tensor that is read.
        rows: ``(n_rows, width)``.
        format: How it is quantized.
        zero_row: A row that reads as zeros; None for none.
        quantized: Its integers; None leaves the scales to be loaded.
        dtype: Of the numbers that are read.
    """

    scales: Tensor
    zero_points: Tensor | None

    def __init__(
        self,
        shape: tuple[int, ...],
        rows: tuple[int, int],
        format: TensorFormat,
        zero_row: int | None = None,
        quantized: Quantized | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.shape, self.rows, self.format, self.zero_row = shape, rows, format, zero_row
        self.dtype = dtype
        if quantized is None:
            of_scales = scale_shape(rows, format.granularity, format.group_size)
            scales = torch.zeros(of_scales, dtype=format.torch_scale_dtype)
            zeros = None if format.symmetric else torch.zeros(of_scales, dtype=torch.uint8)
        else:
            scales, zeros = quantized.scales, quantized.zero_points
        self.register_buffer("scales", scales)
        self.register_buffer("zero_points", zeros)
        self._cache: BuildCache[Tensor] = BuildCache()

    def pack(self, codes: Tensor) -> Tensor:
        """What is stored for ``codes``."""
        return pack(codes, self.format.bits)

    def empty(self) -> Tensor:
        """What is stored, before it is loaded."""
        n_rows, width = self.rows
        return torch.zeros(n_rows, packed_size(width, self.format.bits), dtype=torch.uint8)

    def export(self, packed: Tensor) -> Quantized:
        """The integers: codes ``rows``, scales and zero points as stored."""
        codes = unpack(packed, self.format.bits, self.rows[1])
        return Quantized(codes, self.scales, self.zero_points)

    def forward(self, packed: Tensor) -> Tensor:
        """The numbers, in their own shape."""
        sources = [packed, self.scales, *([] if self.zero_points is None else [self.zero_points])]
        return self._cache.get_or_build(sources, lambda: self._read(packed))

    def _read(self, packed: Tensor) -> Tensor:
        values = dequantize(*self.export(packed), self.format.bits, self.dtype)
        values = values.reshape(self.shape)
        return values if self.zero_row is None else without_row(values, self.zero_row)

    def extra_repr(self) -> str:
        return f"{self.format}, shape={self.shape}"
