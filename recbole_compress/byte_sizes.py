"""Numbers of bytes as people write them."""

from __future__ import annotations

import math
import re
from typing import Any

from recbole_compress.errors import ConfigError

__all__ = ["bytes_of"]

_UNITS = {
    **{"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9},
    **{"kib": 2**10, "mib": 2**20, "gib": 2**30},
}
_WRITTEN = re.compile(r"\s*(\d+\.?\d*(?:e\d+)?)\s*([kmg]?i?b)?\s*", re.IGNORECASE)


def bytes_of(value: Any, key: str) -> int:
    """A number of bytes, given as a number or as text with a unit: 1 kB are 1000, 1 KiB 1024.

    Args:
        value: An int or a str.
        key: The setting it belongs to, for the message.

    Raises:
        ConfigError: Anything else, or none at all.

    Example:
        >>> [bytes_of(written, "limit") for written in (3000, "1.5 MB", "2KiB")]
        [3000, 1500000, 2048]
        >>> bytes_of("2 megs", "limit")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        recbole_compress.errors.ConfigError: limit='2 megs': write a number of bytes above 0, ...
    """
    written = _WRITTEN.fullmatch(str(value))
    found = float(written[1]) * _UNITS[(written[2] or "").lower()] if written else 0.0
    if not 1 <= found < math.inf:
        raise ConfigError(
            f"{key}={value!r}: write a number of bytes above 0, such as 2000000, 800kB or 1.5MB"
        )
    return int(found)
