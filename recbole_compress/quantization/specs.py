"""What is to become of a model's numbers, as plain values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch

from recbole_compress.errors import QuantizationError
from recbole_compress.functional.bit_packing import packed_size
from recbole_compress.functional.integer_grid import GRANULARITIES, check_bits, scale_shape
from recbole_compress.functional.quantization_ranges import RANGE_FINDERS
from recbole_compress.near_names import did_you_mean

__all__ = ["FULL_PRECISION", "SCALE_DTYPES", "QuantizationSpec", "TensorFormat"]

FULL_PRECISION = 32
SCALE_DTYPES = {"float32": torch.float32, "float16": torch.float16}
ACTIVATION_RANGES = ("dynamic", "static")


def _choice(name: str, value: Any, known: Any) -> None:
    if not isinstance(value, str) or value not in known:
        raise QuantizationError(f"{name}={value!r}: {did_you_mean(str(value), known)}")


def _differing(settings: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with an override's in their place; a size of groups goes with the groups."""
    if given.get("granularity", "group") != "group":
        settings = {**settings, "group_size": None}
    return {**settings, **given}


@dataclass(frozen=True)
class TensorFormat:
    """How one tensor is stored; see :mod:`recbole_compress.functional.integer_grid`.

    Args:
        bits: 1 .. 8.
        granularity: ``"tensor"``, ``"row"`` or ``"group"``.
        group_size: For groups: numbers that share a scale; divides the width of a row.
        symmetric: Without zero points.
        scale_dtype: ``"float32"`` or ``"float16"``.
        range_finder: ``"mse"``, ``"absolute_maximum"``, ``"percentile"``, ``"percentile_99"``.

    Raises:
        QuantizationError: Any other value.

    Example:
        >>> TensorFormat(4).stored_bytes((1, 64))
        36
    """

    bits: int = 8
    granularity: str = "row"
    group_size: int | None = None
    symmetric: bool = True
    scale_dtype: str = "float32"
    range_finder: str = "mse"

    def __post_init__(self) -> None:
        if not isinstance(self.symmetric, bool):
            raise QuantizationError(f"symmetric={self.symmetric!r}: choose True or False")
        check_bits(self.bits, self.symmetric)
        _choice("granularity", self.granularity, GRANULARITIES)
        _choice("scale_dtype", self.scale_dtype, SCALE_DTYPES)
        _choice("range_finder", self.range_finder, RANGE_FINDERS)
        if self.granularity == "group":
            size = self.group_size
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise QuantizationError(
                    f"group_size={size}: choose how many numbers share a scale, such as 32"
                )
        elif self.group_size is not None:
            raise QuantizationError(
                f"group_size={self.group_size}: granularity is {self.granularity}, so there are "
                "no groups; add granularity=group, or leave it out"
            )

    @property
    def torch_scale_dtype(self) -> torch.dtype:
        return SCALE_DTYPES[self.scale_dtype]

    def stored_bytes(self, rows: tuple[int, int]) -> int:
        """What a tensor of ``(n_rows, width)`` takes: packed codes, scales and zero points.

        Example:
            >>> TensorFormat(4).stored_bytes((8, 64))  # half a byte a number, four a row
            288
        """
        n_rows, width = rows
        units = math.prod(scale_shape(rows, self.granularity, self.group_size))
        per_unit = self.torch_scale_dtype.itemsize + (0 if self.symmetric else 1)
        return n_rows * packed_size(width, self.bits) + units * per_unit


@dataclass(frozen=True)
class QuantizationSpec:
    """How a whole model is quantized.

    Tables are what has a row per item or user: embeddings, item heads, an output layer as wide as
    the catalogue. Weights are all other matrices and kernels. Biases, layer norms and other vectors
    stay as they are; a table with one number per row is such a vector, unless an override names it.

    Args:
        weight_bits: 1 .. 8, or 32 for as they are.
        table_bits: As ``weight_bits``.
        activation_bits: Of what enters a product with quantized weights: 2 .. 8, or 32.
        activation_range: ``"dynamic"``: a scale per token, found when it comes; ``"static"``: one
            per product, found beforehand with
            :func:`~recbole_compress.quantization.activations.calibrating`.
        granularity: See :class:`TensorFormat`, as are the next four.
        group_size: See there.
        symmetric: See there.
        scale_dtype: See there.
        range_finder: See there.
        learn_steps: Make the scales parameters, for training (learned step size).
        keep: Name patterns of what stays fp32.
        overrides: Name pattern -> the settings that differ there, ``bits`` among them; later ones
            win, over ``keep`` too. Names are those of ``model.named_parameters()``, and the module
            names before their last dot. Biases and normalisations stay fp32 unless a pattern ends
            in their own name, as ``*.bias`` and ``*norm*.weight`` do.

    Raises:
        QuantizationError: A value that is not possible, an unknown setting.

    Example:
        >>> spec = QuantizationSpec(weight_bits=4, overrides={"*.dense*": {"bits": 8}})
        >>> spec.format_of("gru.weight_ih_l0", is_table=False).bits
        4
        >>> spec.format_of("backbone.dense.weight", is_table=False).bits
        8
        >>> spec.format_of("position_embedding.weight", is_table=True) is None
        True
    """

    weight_bits: int = 8
    table_bits: int = 8
    activation_bits: int = FULL_PRECISION
    activation_range: str = "dynamic"
    granularity: str = "row"
    group_size: int | None = None
    symmetric: bool = True
    scale_dtype: str = "float32"
    range_finder: str = "mse"
    learn_steps: bool = False
    keep: tuple[str, ...] = ("*position*", "*pos_emb*")
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keep: Any = self.keep
        if isinstance(keep, str):  # or its letters would be the patterns
            raise QuantizationError(f"keep={keep!r}: give a list of patterns: [{keep!r}]")
        object.__setattr__(self, "keep", tuple(keep))
        for pattern in self.keep:
            if not isinstance(pattern, str):
                raise QuantizationError(f"keep: {pattern!r} is no name pattern such as '*bias*'")
        for pattern, settings in self.overrides.items():
            if not isinstance(pattern, str):
                raise QuantizationError(
                    f"overrides: {pattern!r} is no name pattern such as '*{pattern}*'"
                )
            if not isinstance(settings, Mapping):
                raise QuantizationError(
                    f"overrides: {pattern!r}: {settings!r} is no settings; write "
                    f"{{{pattern!r}: {{'bits': {settings!r}}}}}"
                )
        object.__setattr__(
            self, "overrides", {name: dict(value) for name, value in self.overrides.items()}
        )
        for name in ("weight_bits", "table_bits", "activation_bits"):
            if getattr(self, name) != FULL_PRECISION:
                check_bits(getattr(self, name), self.symmetric or name[0] == "a", name)
        if self.activation_bits == 1:
            raise QuantizationError(
                "activation_bits=1: leaves the signs of what enters a product; choose 2 to 8, or "
                "32 for as it is"
            )
        _choice("activation_range", self.activation_range, ACTIVATION_RANGES)
        self._format(self._settings(8))
        for pattern, settings in self.overrides.items():
            self._format(_differing(self._settings(8), self._checked(pattern, settings)))

    def format_of(self, name: str, is_table: bool) -> TensorFormat | None:
        """The format of one parameter, or None if it stays fp32."""
        bits = self.table_bits if is_table else self.weight_bits
        settings = self._settings(bits)
        if any(self.meets(name, pattern) for pattern in self.keep):
            settings["bits"] = FULL_PRECISION
        for differing in self.overrides_of(name):
            settings = _differing(settings, differing)
        return self._format(settings)

    def overrides_of(self, name: str) -> list[Mapping[str, Any]]:
        """The settings that differ for one parameter, in their order."""
        return [given for pattern, given in self.overrides.items() if self.meets(name, pattern)]

    def asks_for(self, name: str) -> bool:
        """Whether an override names this parameter, rather than a module or all that has a name
        like it: what usually stays fp32 is quantized only then.

        Example:
            >>> spec = QuantizationSpec(overrides={"*norm*.weight": {"bits": 8}})
            >>> spec.asks_for("layer_norm.weight"), spec.asks_for("layer_norm.bias")
            (True, False)
            >>> QuantizationSpec(overrides={"*.weight": {"bits": 8}}).asks_for("layer_norm.weight")
            False
        """
        module, _, attribute = name.rpartition(".")
        for pattern in self.overrides:
            of_module, dot, of_attribute = pattern.rpartition(".")
            # A bias is one wherever it is, a weight may be a matrix.
            one_by_one = of_module.strip("*") or attribute.startswith("bias")
            named = dot and of_attribute == attribute and fnmatchcase(module, of_module)
            if named and one_by_one:
                return True
        return False

    def as_dict(self) -> dict[str, Any]:
        """Plain values, of which :meth:`from_dict` makes the spec again."""
        return {**dataclasses.asdict(self), "keep": list(self.keep)}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> QuantizationSpec:
        """A spec of the settings given; the others are the defaults.

        Raises:
            QuantizationError: An unknown setting.
        """
        known = [item.name for item in dataclasses.fields(cls)]
        for name in settings:
            _choice("quantization setting", name, known)
        return cls(**settings)

    def _settings(self, bits: int) -> dict[str, Any]:
        same = [item.name for item in dataclasses.fields(TensorFormat) if item.name != "bits"]
        return {"bits": bits, **{name: getattr(self, name) for name in same}}

    @staticmethod
    def _format(settings: dict[str, Any]) -> TensorFormat | None:
        return None if settings["bits"] == FULL_PRECISION else TensorFormat(**settings)

    @staticmethod
    def _checked(pattern: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        known = [item.name for item in dataclasses.fields(TensorFormat)]
        for name in settings:
            _choice(f"overrides: {pattern}: setting", name, known)
        return settings

    @staticmethod
    def meets(name: str, pattern: str) -> bool:
        """Whether a pattern is of this parameter, or of the module that has it."""
        return fnmatchcase(name, pattern) or fnmatchcase(name.rpartition(".")[0], pattern)
