"""Settings on their way into a config file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_compress.config.schema import Declared

__all__ = ["for_config_file"]


def for_config_file(settings: Mapping[str, Any], schema: Mapping[str, Declared]) -> dict[str, Any]:
    """Settings whose tuples a config file, which has lists only, would not give back, as texts.

    Example:
        >>> schema = {"gpu_id": Declared(types=("int", "str", "tuple"))}
        >>> for_config_file({"gpu_id": (0, 1)}, schema)  # what --gpu_id=0,1 is read as
        {'gpu_id': '0,1'}
    """
    texts = {
        key: ",".join(map(str, value))
        for key, value in settings.items()
        if isinstance(value, tuple) and "str" in schema[key].types
    }
    return {**settings, **texts}
