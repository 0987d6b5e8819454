"""The settings that say how a model is quantized, and the spec that they describe."""

from __future__ import annotations

from typing import Any

from recbole_compress.byte_sizes import bytes_of
from recbole_compress.quantization import QuantizationSpec

__all__ = ["SPEC_KEYS", "file_limit", "spec_of"]

# Config key -> field of the spec.
SPEC_KEYS = {
    **{key: key for key in ("weight_bits", "table_bits", "activation_bits", "activation_range")},
    **{
        f"quantization_{key}": key
        for key in (
            *("granularity", "group_size", "symmetric", "scale_dtype", "range_finder"),
            *("keep", "overrides"),
        )
    },
}


def spec_of(config: Any) -> QuantizationSpec:
    """The spec that the settings describe.

    Raises:
        QuantizationError: A value that is not possible.
    """
    return QuantizationSpec(**{field: config[key] for key, field in SPEC_KEYS.items()})


def file_limit(config: Any) -> int | None:
    """Bytes that the quantized file may take; None for any number.

    Raises:
        ConfigError: ``quantization_max_bytes`` is no number of bytes.
    """
    key = "quantization_max_bytes"
    return None if config[key] is None else bytes_of(config[key], key)
