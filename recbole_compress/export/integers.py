"""The integers of a quantized model, as they go into a file."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from recbole_compress.errors import ExportError
from recbole_compress.export.storage import Integers, as_array
from recbole_compress.quantization import (
    IntegerParameter,
    QuantizationSpec,
    integer_parameters,
    quantize_,
)

__all__ = ["integers_of", "quantized_copy", "read_numbers_of"]


def quantized_copy(model: nn.Module, spec: QuantizationSpec) -> nn.Module:
    """A copy of a full-precision model on integer grids."""
    quantized = copy.deepcopy(model)
    quantize_(quantized, spec)
    return quantized


@torch.no_grad()
def read_numbers_of(quantized: nn.Module, plain: nn.Module) -> None:
    """Give a full-precision model of the same settings the numbers that a quantized one reads."""
    plain.load_state_dict({name: _read(quantized, name) for name in plain.state_dict()})


def _read(model: nn.Module, name: str) -> Tensor:
    owner, _, attribute = name.rpartition(".")
    return getattr(model.get_submodule(owner), attribute).detach()


def integers_of(quantized: nn.Module, plain: nn.Module) -> dict[Tensor, Integers]:
    """The integers of a quantized model, by the parameter of ``plain`` that holds their numbers.

    Raises:
        ExportError: A parameter whose integers do not stand for its numbers.
    """
    found: dict[Tensor, Integers] = {}
    all_described = integer_parameters(quantized)
    for name, parameter in plain.named_parameters(remove_duplicate=False):
        described = all_described.get(name)
        if described is None or parameter in found:
            continue
        integers = _as_stored(described)
        numbers = as_array(parameter).reshape(integers.codes.shape)
        if not np.array_equal(integers.dequantized(), numbers):
            raise ExportError(f"{name}: its integers do not stand for the numbers the model reads")
        found[parameter] = integers
    return found


def _as_stored(described: IntegerParameter) -> Integers:
    n_rows, _ = described.rows
    bits = described.format.bits
    codes, scales, zero_points = (
        None if part is None else as_array(part) for part in described.quantized
    )
    assert codes is not None and scales is not None
    if bits == 1:  # minus or plus half a scale: no operator's zero point is a half
        codes, scales, bits = 2 * codes + 1, _halved(scales), 2
    codes, scales = codes.reshape(described.rows), _per_row(scales, n_rows)
    zero_points = None if zero_points is None else _per_row(zero_points, n_rows)
    if described.zero_row is not None:
        # Reads as zeros whatever its codes: with these it does so by itself.
        codes = codes.copy()
        row = described.zero_row
        if zero_points is None:
            codes[row] = 2 ** (bits - 1)
        else:
            width = codes.shape[1] // zero_points.shape[1]
            codes[row] = zero_points[row].repeat(width)
    return Integers(codes, scales, zero_points, bits)


def _halved(scales: np.ndarray) -> np.ndarray:
    """Exactly so: half of the smallest short floats is none of them."""
    half = scales / 2
    return half if np.array_equal(half * 2, scales) else scales.astype(np.float32) / 2


def _per_row(values: np.ndarray, n_rows: int) -> np.ndarray:
    """One scale for a whole tensor is one for every row."""
    if values.size == 1:
        return np.full((n_rows, 1), values.item(), values.dtype)
    return values.reshape(n_rows, -1)
