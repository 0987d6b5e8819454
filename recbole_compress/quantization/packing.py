"""From fake quantization to packed integers, and back from a file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from recbole_compress.errors import QuantizationError
from recbole_compress.functional.quantization import Quantized
from recbole_compress.quantization.activations import ActivationQuantizer
from recbole_compress.quantization.fake_quantizer import FakeQuantizer
from recbole_compress.quantization.packed_weight import PackedWeight
from recbole_compress.quantization.rounded_inputs import RoundsOtherFactor, attach
from recbole_compress.quantization.specs import TensorFormat
from recbole_compress.quantization.swap import open_recurrent_

__all__ = [
    "IntegerParameter",
    "fake_quantized",
    "freeze_",
    "integer_parameters",
    "manifest",
    "packed_numbers",
    "packed_structure_",
]

_FORMAT = 1


@dataclass(frozen=True)
class IntegerParameter:
    """A quantized parameter, as integers.

    Attributes:
        name: As in ``named_parameters()`` of the full-precision model.
        shape: Of the parameter.
        rows: ``(n_rows, width)``: the shape of the codes.
        format: Bits, granularity and the rest.
        zero_row: A row that reads as zeros whatever its codes; None for none.
        quantized: uint8 codes ``rows``, scales and zero points as stored.
    """

    name: str
    shape: tuple[int, ...]
    rows: tuple[int, int]
    format: TensorFormat
    zero_row: int | None
    quantized: Quantized


def integer_parameters(model: nn.Module) -> dict[str, IntegerParameter]:
    """Every quantized parameter of a model, packed or still in training, by its name.

    Example:
        >>> from recbole_compress.quantization import QuantizationSpec, quantize_
        >>> model = nn.Linear(4, 2)
        >>> _ = quantize_(model, QuantizationSpec(weight_bits=4))
        >>> integer_parameters(model)["weight"].quantized.codes.shape
        torch.Size([2, 4])
    """
    return {
        name: IntegerParameter(
            name,
            tuple(reader.shape if isinstance(reader, PackedWeight) else stored.shape),
            reader.rows,
            reader.format,
            reader.zero_row,
            reader.export(stored),
        )
        for name, _, _, reader, stored in _quantized(model)
    }


def freeze_(model: nn.Module) -> None:
    """Replace every fake-quantized parameter by its packed integers, in place.

    The model computes the same to the last bit; there is nothing left to train in them. A table
    that several modules share is packed once.

    Raises:
        QuantizationError: A model that is not quantized.

    Example:
        >>> from recbole_compress.quantization import QuantizationSpec, quantize_
        >>> model = nn.Linear(4, 2)
        >>> _ = quantize_(model, QuantizationSpec(weight_bits=4))
        >>> freeze_(model)
        >>> packed = model.parametrizations.weight.original
        >>> packed.shape, packed.dtype
        (torch.Size([2, 2]), torch.uint8)
    """
    found = list(_quantized(model))
    if not found:
        raise QuantizationError(f"{type(model).__name__}: is not quantized, nothing to pack")
    done: dict[int, tuple[PackedWeight, Tensor]] = {}
    for _, module, attribute, reader, stored in found:
        if isinstance(reader, PackedWeight):
            continue
        if id(reader) not in done:
            quantized = reader.export(stored)
            packed = PackedWeight(
                tuple(stored.shape),
                reader.rows,
                reader.format,
                reader.zero_row,
                quantized,
                stored.dtype,
            )
            done[id(reader)] = packed, packed.pack(quantized.codes)
        chains: Any = module.parametrizations
        chain = list(chains[attribute])[1:]
        parametrize.remove_parametrizations(module, attribute, leave_parametrized=False)
        _store(module, attribute, *done[id(reader)], chain)


def manifest(model: nn.Module) -> dict[str, Any]:
    """What a model must know to read a packed one's state, as plain values.

    Raises:
        QuantizationError: A model that is not quantized.
    """
    found = list(_quantized(model))
    if not found:
        raise QuantizationError(f"{type(model).__name__}: is not quantized")
    first: dict[int, str] = {}
    parameters = {}
    for name, _, _, reader, stored in found:
        shape = reader.shape if isinstance(reader, PackedWeight) else stored.shape
        parameters[name] = {
            "shape": list(shape),
            "rows": list(reader.rows),
            "zero_row": reader.zero_row,
            "format": dataclasses.asdict(reader.format),
            "same_as": first.get(id(reader)),
        }
        first.setdefault(id(reader), name)
    return {
        "version": _FORMAT,
        "parameters": parameters,
        "activations": {
            name: {
                "bits": quantizer.bits,
                "static": quantizer.static,
                "range_finder": quantizer.range_finder,
            }
            for name, quantizer in _rounded(model)
        },
    }


def packed_structure_(model: nn.Module, described: Mapping[str, Any]) -> None:
    """Make a full-precision model one that the state of a packed model can be loaded into.

    Args:
        model: Of the same settings as the packed one; changed in place, its own numbers are lost.
        described: The :func:`manifest` of the packed one.

    Raises:
        QuantizationError: A description that does not fit the model.
    """
    try:
        if described["version"] != _FORMAT:
            raise QuantizationError(
                f"quantization version {described['version']}: this release reads {_FORMAT}"
            )
        open_recurrent_(model, _owners(model, described["parameters"]))
        readers: dict[str, tuple[PackedWeight, Tensor]] = {}
        for name, entry in described["parameters"].items():
            owner, _, attribute = name.rpartition(".")
            module = model.get_submodule(owner)
            parameter: Any = module._parameters[attribute]
            shape = tuple(parameter.shape)
            if list(shape) != list(entry["shape"]):
                raise QuantizationError(f"{name}: is {shape} here, {entry['shape']} in the file")
            rows = tuple(entry["rows"])
            if len(rows) != 2 or min(rows) < 0 or math.prod(rows) != math.prod(shape):
                raise QuantizationError(f"{name}: is {shape} here, in rows {rows} in the file")
            if entry["same_as"] is None:
                reader = PackedWeight(
                    shape,
                    rows,
                    TensorFormat(**entry["format"]),
                    entry["zero_row"],
                    dtype=parameter.dtype,
                )
                readers[name] = reader, reader.empty()
            else:
                readers[name] = readers[entry["same_as"]]
            _store(module, attribute, *readers[name], [])
        for name, entry in described["activations"].items():
            attach(model.get_submodule(name), **entry)
    except (AttributeError, KeyError, TypeError) as error:
        raise QuantizationError(
            f"what the file says of its integers does not fit {type(model).__name__} "
            f"({type(error).__name__}: {error})"
        ) from error


def fake_quantized(model: nn.Module) -> Iterator[tuple[FakeQuantizer, Tensor]]:
    """What reads every parameter that is still trained, and the parameter itself."""
    for _, _, _, reader, stored in _quantized(model):
        if isinstance(reader, FakeQuantizer):
            yield reader, stored


def packed_numbers(model: nn.Module) -> dict[int, int]:
    """How many numbers every packed tensor stands for, by the tensor's ``id``."""
    return {
        id(stored): reader.rows[0] * reader.rows[1]
        for _, _, _, reader, stored in _quantized(model)
        if isinstance(reader, PackedWeight)
    }


def _owners(model: nn.Module, names: Mapping[str, Any]) -> set[int]:
    return {id(model.get_submodule(name.rpartition(".")[0])) for name in names}


def _store(
    module: nn.Module,
    attribute: str,
    reader: PackedWeight,
    packed: Tensor,
    chain: list[nn.Module],
) -> None:
    device = module._parameters[attribute].device  # type: ignore[union-attr]
    delattr(module, attribute)
    module.register_buffer(attribute, packed.to(device))
    for step in (reader.to(device), *chain):
        parametrize.register_parametrization(module, attribute, step, unsafe=True)


def _quantized(
    model: nn.Module,
) -> Iterator[tuple[str, nn.Module, str, FakeQuantizer | PackedWeight, Tensor]]:
    """Name, module, attribute, what reads it, and what is stored."""
    for prefix, module in model.named_modules():
        if not parametrize.is_parametrized(module):
            continue
        for attribute, chain in module.parametrizations.items():
            reader = chain[0]
            if isinstance(reader, (FakeQuantizer, PackedWeight)):
                name = f"{prefix}.{attribute}" if prefix else attribute
                yield name, module, attribute, reader, chain.original


def _rounded(model: nn.Module) -> Iterator[tuple[str, ActivationQuantizer]]:
    """Names of the modules whose inputs are rounded, and by what."""
    for name, module in model.named_modules():
        quantizer = module._modules.get("input_quantizer")
        if isinstance(quantizer, ActivationQuantizer):
            yield name, quantizer
        elif parametrize.is_parametrized(module, "weight"):
            for step in module.parametrizations.weight:
                if isinstance(step, RoundsOtherFactor):
                    yield name, step.quantizer
