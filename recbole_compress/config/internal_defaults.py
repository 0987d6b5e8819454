"""Our yaml files among RecBole's defaults: weaker than anything the user gives."""

from __future__ import annotations

from typing import Any

from recbole_compress.config.model_names import inherited_from, is_stock
from recbole_compress.config.parsed_files import parsed
from recbole_compress.config.properties_folder import (
    dataset_yaml,
    model_yaml,
    overall_yaml,
    recbole_yaml,
    recipe_yaml,
)
from recbole_compress.config.split_files import settle_interaction_files
from recbole_compress.config.values import PlainLoader

__all__ = ["internal_defaults"]


def internal_defaults(config: Any, model: str, dataset: str) -> None:
    """Add our defaults to a RecBole ``Config`` that has just read its own.

    In order: ``overall.yaml``, ``recipe/<recipe>.yaml``, ``dataset/<dataset>.yaml`` and the files
    that data set has, then ``model/<model>.yaml``. A class of the user's has the defaults of the
    model that it is derived from. Does nothing for RecBole's models in RecBole's
    own ``Config``: importing this package changes no run that does not use it.

    Args:
        config: A ``Config`` at the end of ``_load_internal_config_dict``.
        model: Name of its model.
        dataset: Name of its data set.
    """
    ours = getattr(type(config), "takes_our_defaults", False)
    if is_stock(config.model_class) and not ours:
        return
    internal = config.internal_config_dict
    inherited = inherited_from(config.model_class)
    for parent in inherited:
        internal.update(_settings(recbole_yaml(f"model/{parent}")))
    internal.update(_settings(overall_yaml()))
    internal.update(_settings(recipe_yaml(str(config.external_config_dict.get("recipe")))))
    if recbole_yaml(f"dataset/{dataset}") is None:
        of_dataset = _settings(dataset_yaml(dataset))
        if set(internal["load_col"] or {}) != {"inter"}:
            of_dataset.pop("load_col", None)  # a model that needs further tables says which
        internal.update(of_dataset)
        settle_interaction_files(config, dataset)
    for name in (*inherited, model):
        internal.update(_settings(model_yaml(name)))


def _settings(path) -> dict[str, Any]:
    return (parsed(path, PlainLoader) or {}) if path else {}
