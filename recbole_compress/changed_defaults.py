"""Settings whose default was another once: where they are left open, equal settings may differ."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CHANGED_DEFAULTS", "ChangedDefault", "left_open", "meant_before"]


@dataclass(frozen=True)
class ChangedDefault:
    """How it was before.

    Attributes:
        before: The value that stood for what was done then, or the default.
        known_by: A key that the configs of all models have which the setting is for; the setting's
            own where it was there from the first.
        is_read: Whether a run of this config reads the setting.
        cards_tell: Whether every card since the change tells the value, so that one which does
            not is of before.
    """

    before: Any
    known_by: str
    is_read: Callable[[Any], bool]
    cards_tell: bool = False


def _distils(config: Any) -> bool:
    return config["recipe"] == "distillation"


CHANGED_DEFAULTS: Mapping[str, ChangedDefault] = {
    "tt_item_order": ChangedDefault(
        before="by_id",
        known_by="tt_ranks",
        is_read=lambda config: "tensor_train" in str(config["item_embedding"]),
    ),
    "kd_contrastive_weight": ChangedDefault(
        before=0.2,
        known_by="kd_contrastive_weight",
        is_read=_distils,
        cards_tell=True,
    ),
    # Long since: cards of either default are silent.
    "kd_soft_target_weight": ChangedDefault(
        before=0.8, known_by="kd_soft_target_weight", is_read=_distils
    ),
    "kd_predictive_weight": ChangedDefault(
        before=0.001, known_by="kd_predictive_weight", is_read=_distils
    ),
}


def meant_before(known: Mapping[str, Any]) -> dict[str, Any]:
    """What a config has by a default of before, or stands for by being older than the setting.

    Args:
        known: All settings of the config.

    Example:
        >>> meant_before({"tt_ranks": 16}), meant_before({"hidden_size": 64})
        ({'tt_item_order': 'by_id'}, {})
        >>> meant_before({"kd_contrastive_weight": 0.2}), meant_before({"kd_contrastive_weight": 0})
        ({'kd_contrastive_weight': 0.2}, {})
    """
    return {
        key: changed.before
        for key, changed in CHANGED_DEFAULTS.items()
        if changed.known_by in known and known.get(key, changed.before) == changed.before
    }


def left_open(config: Any, given: Collection[str]) -> dict[str, Any]:
    """The values of today's defaults that tell a model from one of equal settings of before.

    Args:
        config: Of the model.
        given: The keys that were set.

    Example:
        >>> config = {"item_embedding": "tensor_train", "tt_item_order": "scattered", "recipe": ""}
        >>> left_open(config, given=["tt_ranks"]), left_open(config, given=["tt_item_order"])
        ({'tt_item_order': 'scattered'}, {})
    """
    return {
        key: config[key]
        for key, changed in CHANGED_DEFAULTS.items()
        if key not in given and changed.is_read(config)
    }
