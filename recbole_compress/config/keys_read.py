"""Keys that RecBole's code reads though no yaml file mentions them."""

from __future__ import annotations

import functools
import inspect
import re
from pathlib import Path

import recbole
from recbole.utils import get_trainer
from recbole.utils.argument_list import (
    dataset_arguments,
    evaluation_arguments,
    general_arguments,
    training_arguments,
)

__all__ = ["keys_read_by_class", "keys_read_everywhere", "keys_read_in", "source_of"]

# config["key"] and config.get("key", also as self.final_config_dict[...]
_READ = re.compile(r"""config(?:_dict)?\s*(?:\[|\.get\()\s*["'](\w+)["']""")
# The parts of RecBole that every run goes through, whatever the model.
_EVERYWHERE = ("config", "data", "evaluator", "sampler", "utils")


def keys_read_in(source: str) -> frozenset[str]:
    """Keys that a piece of Python asks a config for.

    Example:
        >>> sorted(keys_read_in('self.k = config["k"]; width = config.get("width", 3)'))
        ['k', 'width']
    """
    return frozenset(_READ.findall(source))


@functools.cache
def keys_read_everywhere() -> frozenset[str]:
    """Keys that RecBole reads for every model, yaml line or not."""
    root = Path(recbole.__file__).parent
    keys = {*general_arguments, *training_arguments, *evaluation_arguments, *dataset_arguments}
    for part in _EVERYWHERE:
        for path in root.glob(f"{part}/**/*.py"):
            keys |= keys_read_in(path.read_text(encoding="utf-8"))
    return frozenset(keys)


@functools.cache
def keys_read_by_class(model_class: type) -> frozenset[str]:
    """Keys that a model, its base classes and its trainer read."""
    trainer = get_trainer(getattr(model_class, "type", None), model_class.__name__)
    keys = keys_read_in(source_of(inspect.getmodule(model_class)))  # its layers and losses too
    for cls in (*model_class.__mro__, *trainer.__mro__):
        if cls.__module__.split(".")[0] not in ("torch", "builtins"):
            keys |= keys_read_in(source_of(cls))
    return keys


def source_of(thing) -> str:
    """Its Python text, empty where there is none to be had."""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):  # typed into an interpreter
        return ""
