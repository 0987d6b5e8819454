"""What became of every parameter of a quantized model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from recbole_compress.quantization.specs import FULL_PRECISION

__all__ = ["QuantizationReport", "ReportRow"]


class ReportRow(NamedTuple):
    """One parameter.

    Attributes:
        name: As in ``model.named_parameters()`` of the full-precision model.
        module: Type of the module that holds it.
        shape: Its shape.
        bits: 1 .. 8, or 32.
        size_bytes: Packed codes, scales and zero points, or the numbers as they are.
        activation_bits: Of what it is multiplied with: 2 .. 8, or 32; 32 for tables of RecBole's
            models that are only looked up or compared by distances.
        reason: Why it stays fp32; None if it does not.
    """

    name: str
    module: str
    shape: tuple[int, ...]
    bits: int
    size_bytes: int
    activation_bits: int
    reason: str | None


class QuantizationReport(NamedTuple):
    """All parameters, in the model's order.

    Example:
        >>> from torch import nn
        >>> from recbole_compress.quantization import QuantizationSpec, quantize_
        >>> print(quantize_(nn.Linear(64, 8), QuantizationSpec(weight_bits=4)))
        parameter  module  shape    bits  bytes
        weight     Linear  8 x 64      4    288
        bias       Linear  8          32     32  a vector
        total                               320
    """

    rows: Sequence[ReportRow]

    @property
    def size_bytes(self) -> int:
        return sum(row.size_bytes for row in self.rows)

    @property
    def full_precision(self) -> list[ReportRow]:
        """What stays fp32."""
        return [row for row in self.rows if row.bits == FULL_PRECISION]

    def __str__(self) -> str:
        cells = [("parameter", "module", "shape", "bits", "bytes", "")]
        for row in self.rows:
            shape = " x ".join(map(str, row.shape)) or "1"
            bits, size = str(row.bits), f"{row.size_bytes:,}"
            cells.append((row.name, row.module, shape, bits, size, row.reason or ""))
        cells.append(("total", "", "", "", f"{self.size_bytes:,}", ""))
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = []
        for name, module, shape, bits, size, reason in cells:
            left = f"{name:{widths[0]}}  {module:{widths[1]}}  {shape:{widths[2]}}"
            lines.append(f"{left}  {bits:>{widths[3]}}  {size:>{widths[4]}}  {reason}".rstrip())
        return "\n".join(lines)
