"""Which models there are, found without importing them."""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from pathlib import Path

import recbole
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import get_model

from recbole_compress.errors import ConfigError
from recbole_compress.near_names import did_you_mean

__all__ = [
    "DATA_FREE_PREFIX",
    "REGISTERED",
    "STAND_INS",
    "find_model",
    "is_stock",
    "quantized_of",
    "stock_models",
]

# ``DFQSASRec`` is SASRec, quantized without data.
DATA_FREE_PREFIX = "DFQ"

# Models that ``registry.register`` has made known to RecBole, ours and the user's.
REGISTERED: dict[str, type] = {}

# Models of ours under a name of RecBole's. Only our own ``Config`` finds them: RecBole's functions
# keep RecBole's model.
STAND_INS: dict[str, type] = {}

# The user's, named as ``module:Class``; by the class's name, as checkpoints name it.
_IMPORTED: dict[str, type] = {}

_CLASS = re.compile(r"^class (\w+)", re.MULTILINE)


@functools.cache
def stock_models(kind: str = "*") -> dict[str, Path]:
    """RecBole's own models: class name to source file.

    Args:
        kind: ``"sequential"``, ``"general"``, ... or ``"*"`` for all.

    Example:
        >>> "SASRec" in stock_models("sequential"), "BPR" in stock_models("sequential")
        (True, False)
    """
    found = {}
    for path in Path(recbole.__file__).parent.glob(f"model/{kind}_recommender/*.py"):
        for name in _CLASS.findall(path.read_text(encoding="utf-8")):
            if name.lower() == path.stem:  # the rule by which RecBole finds a model's module
                found[name] = path
    return found


def is_stock(model_class: type) -> bool:
    """Whether a class is RecBole's own, rather than ours or somebody else's."""
    return model_class.__module__.split(".")[0] == "recbole"


def quantized_of(name: str) -> str | None:
    """The model that a ``DFQ<Model>`` stands for; None for any other name.

    Example:
        >>> quantized_of("DFQSASRec"), quantized_of("SASRec")
        ('SASRec', None)
    """
    rest = name.removeprefix(DATA_FREE_PREFIX)
    return rest if rest and rest != name and name not in {**STAND_INS, **REGISTERED} else None


def find_model(name: str) -> type:
    """The class of that name, ours or RecBole's, or of the user's ``module:Class``.

    RecBole's lookup goes on to its tree models for an unknown name and so reports a missing
    ``lightgbm``; this asks first whether there is such a model.

    Raises:
        ConfigError: No model of that name; says which come near.
    """
    if ":" in name:
        return _imported(name)
    known = {**STAND_INS, **REGISTERED, **_IMPORTED}
    if name in known:
        return known[name]
    if name not in stock_models():
        near = did_you_mean(name, {*known, *stock_models("sequential")})
        raise ConfigError(f"model={name!r}: {near}; a class of yours is --model=MODULE:{name}")
    try:
        return get_model(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"model={name!r}: RecBole needs {error.name!r} for it") from error


def _imported(name: str) -> type:
    """The class of ``package.module:Class``; from now on its own name stands for it.

    A module in the current folder counts, as it does for ``python -m``.
    """
    module_name, _, class_name = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        model_class = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"model={name!r}: cannot be imported ({error})") from error
    if not isinstance(model_class, type) or not issubclass(model_class, SequentialRecommender):
        raise ConfigError(f"model={name!r}: is no class of a SequentialRecommender")
    if class_name in {**STAND_INS, **REGISTERED} or class_name in stock_models():
        raise ConfigError(f"model={name!r}: there is a {class_name} already; name yours otherwise")
    _IMPORTED[class_name] = model_class
    return model_class
