"""Bits for every tensor of a model, so that its file is no larger than asked: without any data.

What a tensor's bits do to the model is measured on sequences of the model's own, one tensor at a
time: the divergence of its distributions over all items from those in full precision.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Callable, Collection
from typing import Any

import torch

from recbole_compress.datafree import item_divergence, sample_sequences
from recbole_compress.errors import ConfigError, QuantizationError
from recbole_compress.models.compressed_recommender import has_one_catalogue
from recbole_compress.quantization import FakeQuantizer, QuantizationSpec, quantize_
from recbole_compress.quantization.bit_allocation import BitChoice, least_harm
from recbole_compress.quantization.targets import Target, one_per_parameter, targets
from recbole_compress.readers import as_reader, reader_like
from recbole_compress.trainers.datafree_settings import DataFreeSettings

__all__ = ["bit_choices", "check_bound", "spec_within"]

# Sequences that every choice is measured on.
_SEQUENCES = 256
# A training notes how long it took in the file; numbers may take some bytes more than zeros.
_SPARE = 256


def spec_within(
    model: Any,
    spec: QuantizationSpec,
    config: Any,
    max_bytes: int,
    file_size: Callable[[QuantizationSpec], int],
    key: str = "quantization_max_bytes",
    allowed: Collection[int] = range(1, 9),
) -> QuantizationSpec:
    """``spec`` with as many bits for every tensor as make the least of the harm that has to be.

    Args:
        model: Full precision, in evaluation mode; not changed.
        spec: Its bits are the most that a tensor gets. What its overrides give bits keeps them.
        config: Of the model; its ``df_`` keys say how sequences are made.
        max_bytes: What the file of the quantized model may take.
        file_size: Bytes of the file under a spec.
        key: What the bound is called, for messages.
        allowed: Numbers of bits to choose from; with zero points none below 2.

    Raises:
        QuantizationError: No file of this model is so small.
        ConfigError: A model that makes no sequences: it reads other items than it recommends.
    """
    if file_size(spec) <= max_bytes - _SPARE:
        return spec
    fewest = {target.name: _tried(target, allowed)[0] for target in _open_targets(model, spec)}
    smallest = _with_bits(spec, fewest)
    least = file_size(smallest)
    if least > max_bytes - _SPARE:  # before anything is measured
        raise _no_file_so_small(key, max_bytes, f"takes {least + _SPARE} bytes")
    choices = bit_choices(model, spec, config, key, allowed)
    beside = least - sum(of_tensor[0].size_bytes for of_tensor in choices.values())
    while found := least_harm(list(choices.values()), max_bytes - _SPARE - beside):
        bits = {name: one.bits for name, one in zip(choices, found, strict=True)}
        planned = _with_bits(spec, bits)
        too_many = file_size(planned) - (max_bytes - _SPARE)
        if too_many <= 0:
            return planned
        beside += too_many  # of what the bits of a tensor take beside its numbers
    return smallest


def check_bound(
    model: Any, spec: QuantizationSpec, max_bytes: int, key: str = "quantization_max_bytes"
) -> None:
    """Refuse a bound that the numbers alone are beyond, whatever they will be: before training.

    Raises:
        QuantizationError: As :func:`spec_within` would, once the model is trained.
    """
    fewest = {target.name: _fewest_bits(target) for target in _open_targets(model, spec)}
    # Where the range ends makes no file smaller, and this end is found at once.
    quick = dataclasses.replace(_with_bits(spec, fewest), range_finder="absolute_maximum")
    least = quantize_(copy.deepcopy(model), quick).size_bytes
    if least > max_bytes - _SPARE:
        raise _no_file_so_small(key, max_bytes, f"takes more than {least + _SPARE} bytes")


def _no_file_so_small(key: str, max_bytes: int, takes: str) -> QuantizationError:
    return QuantizationError(
        f"{key}={max_bytes}: the smallest file of this model, every tensor in as few bits as can "
        f"be, {takes}; give at least as many, or quantize a smaller model"
    )


def bit_choices(
    model: Any,
    spec: QuantizationSpec,
    config: Any,
    key: str = "quantization_max_bytes",
    allowed: Collection[int] = range(1, 9),
) -> dict[str, list[BitChoice]]:
    """Of every tensor whose bits are open, by name: its size and harm at each, fewest bits first.

    Arguments and errors as in :func:`spec_within`.
    """
    if not has_one_catalogue(model):
        raise ConfigError(
            f"{key}: {type(model).__name__} reads other items than it recommends, "
            "so no sequences can be made to measure its tensors with; give weight_bits and "
            "table_bits"
        )
    settings = DataFreeSettings.of(config)
    sampling = dataclasses.replace(settings.sampling, lengths="uniform")
    original, seed = as_reader(model), config["seed"]
    chance = torch.Generator().manual_seed(seed)
    sequences = sample_sequences(original, _SEQUENCES, sampling, chance)
    large = original.n_items > settings.candidates_above
    changed = copy.deepcopy(model)
    reader = reader_like(original, changed)
    with torch.no_grad():
        wanted = original.ends(sequences)

        def harm() -> float:
            divergence = item_divergence(
                reader.ends(sequences),
                wanted,
                original.n_items,
                candidates=settings.candidates if large else None,
                generator=torch.Generator().manual_seed(seed),  # the same items for all
            )
            return max(0.0, float(divergence))

        open_ones = _open_targets(changed, spec)
        logging.getLogger().info(
            f"{key}: measuring how many bits each of {len(open_ones)} tensors needs"
        )
        return {target.name: _choices_of(target, allowed, harm) for target in open_ones}


def _open_targets(model: Any, spec: QuantizationSpec) -> list[Target]:
    """Tensors that nobody has given bits of their own."""
    return [
        target
        for target in one_per_parameter(targets(model, spec))
        if not any("bits" in given for given in spec.overrides_of(target.name))
    ]


def _choices_of(
    target: Target, allowed: Collection[int], harm: Callable[[], float]
) -> list[BitChoice]:
    """Each number of bits tried; the parameter is afterwards as it was."""
    assert target.format is not None
    parameter = target.parameter
    before = parameter.clone()
    found = []
    for bits in _tried(target, allowed):
        format = dataclasses.replace(target.format, bits=bits)
        quantizer = FakeQuantizer(before, target.rows, format, zero_row=target.zero_row)
        parameter.copy_(quantizer(before))
        found.append(BitChoice(bits, format.stored_bytes(target.rows), harm()))
    parameter.copy_(before)
    return found


def _tried(target: Target, allowed: Collection[int]) -> list[int]:
    """Numbers of bits that it may have, in order; the most that it was given if none is allowed."""
    assert target.format is not None
    fewest, most = _fewest_bits(target), target.format.bits
    return [bits for bits in sorted(allowed) if fewest <= bits <= most] or [most]


def _fewest_bits(target: Target) -> int:
    assert target.format is not None
    return 1 if target.format.symmetric else 2


def _with_bits(spec: QuantizationSpec, bits: dict[str, int]) -> QuantizationSpec:
    chosen = {name: {"bits": number} for name, number in bits.items()}
    # What is said of a tensor by its own name stays, at its place, with the bits beside it.
    said = {name: {**given, **chosen.get(name, {})} for name, given in spec.overrides.items()}
    return dataclasses.replace(spec, overrides={**chosen, **said})
