"""Settings whose default was another once: where they are left open, equal settings may differ."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CHANGED_DEFAULTS", "ChangedDefault", "left_open", "meant_before"]


@dataclass(frozen=True)
class ChangedDefault:
    """How it was before there was a choice.

    Attributes:
        before: The value that stood for what was done then.
        known_by: A key that the configs of all models have which the setting is for.
        is_read: Whether a model of this config reads the setting.
    """

    before: Any
    known_by: str
    is_read: Callable[[Any], bool]


CHANGED_DEFAULTS: Mapping[str, ChangedDefault] = {
    "tt_item_order": ChangedDefault(
        before="by_id",
        known_by="tt_ranks",
        is_read=lambda config: "tensor_train" in str(config["item_embedding"]),
    ),
}


def meant_before(known: Mapping[str, Any]) -> dict[str, Any]:
    """What a config that is older than a setting stands for, by the setting's key.

    Args:
        known: All settings of the config.

    Example:
        >>> meant_before({"tt_ranks": 16}), meant_before({"hidden_size": 64})
        ({'tt_item_order': 'by_id'}, {})
    """
    return {
        key: changed.before
        for key, changed in CHANGED_DEFAULTS.items()
        if changed.known_by in known and key not in known
    }


def left_open(config: Any, given: Collection[str]) -> dict[str, Any]:
    """The values of today's defaults that tell a model from one of equal settings of before.

    Args:
        config: Of the model.
        given: The keys that were set.

    Example:
        >>> config = {"item_embedding": "tensor_train", "tt_item_order": "scattered"}
        >>> left_open(config, given=["tt_ranks"]), left_open(config, given=["tt_item_order"])
        ({'tt_item_order': 'scattered'}, {})
    """
    return {
        key: config[key]
        for key, changed in CHANGED_DEFAULTS.items()
        if key not in given and changed.is_read(config)
    }
