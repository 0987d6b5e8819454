"""How far apart the grid points of a model in training lie, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from recbole_compress.quantization.fake_quantizer import FakeQuantizer
from recbole_compress.quantization.packing import fake_quantized

__all__ = ["grid_steps"]


def grid_steps(model: nn.Module) -> Iterator[tuple[list[Tensor], int, float]]:
    """Every fake-quantized parameter, its scales beside it if they learn, its bits and mean step.

    A step of an optimizer that is far from it does nothing or jumps over grid points: eight bits
    lie a hundred times closer than two.

    Example:
        >>> from recbole_compress.quantization import QuantizationSpec, quantize_
        >>> model = nn.Linear(1, 2, bias=False)
        >>> _ = nn.init.constant_(model.weight, 3.5)
        >>> _ = quantize_(model, QuantizationSpec(weight_bits=4, range_finder="absolute_maximum"))
        >>> [(len(tensors), bits, step) for tensors, bits, step in grid_steps(model)]
        [(1, 4, 0.5)]
    """
    seen: set[int] = set()
    for reader, stored in fake_quantized(model):
        if id(reader) in seen:  # a table that several modules share
            continue
        seen.add(id(reader))
        learned = [reader.scales] if isinstance(reader.scales, nn.Parameter) else []
        yield [stored, *learned], reader.format.bits, _step(reader)


def _step(reader: FakeQuantizer) -> float:
    scales = reader.scales.detach().abs()
    return float(scales.sum() / (scales > 0).sum().clamp(min=1))
