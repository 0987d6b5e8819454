"""A config as it would be with other choices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["ChangedConfig"]


class ChangedConfig:
    """A config of which some keys read otherwise; the config itself stays as it is.

    Args:
        config: Mapping, or whatever else is asked for its keys with ``[]``.
        changed: The values that it does not have, by their keys.

    Example:
        >>> config = ChangedConfig({"item_head": "tied", "n_layers": 2}, {"item_head": "untied"})
        >>> config["item_head"], config["n_layers"]
        ('untied', 2)
    """

    def __init__(self, config: Any, changed: Mapping[str, Any]) -> None:
        self._config, self._changed = config, changed

    def __getitem__(self, key: str) -> Any:
        return self._changed[key] if key in self._changed else self._config[key]
