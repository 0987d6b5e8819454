"""Which models there are, found without importing them."""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import recbole
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import get_model

from recbole_compress.errors import ConfigError
from recbole_compress.near_names import did_you_mean

__all__ = [
    "DATA_FREE_PREFIX",
    "REGISTERED",
    "STAND_INS",
    "class_name",
    "find_model",
    "importing_nothing",
    "inherited_from",
    "is_stock",
    "know_classes",
    "name_of",
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

# The user's, by the class's name, as checkpoints name it.
_OF_THE_USER: dict[str, type] = {}

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


def inherited_from(model_class: type) -> list[str]:
    """Models, ours or RecBole's, that a class of somebody else's is derived from, nearest last.

    Example:
        >>> from recbole.model.sequential_recommender import SASRec
        >>> class Mine(SASRec):
        ...     pass
        >>> inherited_from(Mine), inherited_from(SASRec)
        (['SASRec'], [])
    """
    if is_stock(model_class) or REGISTERED.get(model_class.__name__) is model_class:
        return []
    return [
        base.__name__
        for base in reversed(model_class.__mro__[1:])
        if REGISTERED.get(base.__name__) is base
        or (is_stock(base) and base.__name__ in stock_models())
    ]


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
    known = {**STAND_INS, **REGISTERED, **_OF_THE_USER}
    if name in known:
        return known[name]
    if name not in stock_models():
        module, _, last = name.rpartition(".")
        yours = f"for a class of yours add --model_classes={module or 'MODULE'}:{last}"
        near = did_you_mean(name, {*known, *stock_models("sequential")})
        raise ConfigError(f"model={name!r}: not known; {yours}, or {near}")
    try:
        return get_model(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"model={name!r}: RecBole needs {error.name!r} for it") from error


def know_classes(given: str | type | Iterable[str | type]) -> list[str]:
    """Make classes of the user's known by their own names, by which checkpoints name them.

    Args:
        given: One class or several, themselves or as ``module:Class``.

    Returns:
        Each as ``module:Class``.

    Raises:
        ConfigError: What is given is no model, or has the name of another one.
    """
    several = [given] if isinstance(given, (str, type)) else list(given)
    return [
        name_of(_known(each) if isinstance(each, type) else _imported(each)) for each in several
    ]


def name_of(model_class: type) -> str:
    """What finds a class again in another process: its name, and its module if it is the user's.

    Example:
        >>> from recbole.model.sequential_recommender import SASRec
        >>> name_of(SASRec)
        'SASRec'
    """
    name = model_class.__name__
    if is_stock(model_class) or {**STAND_INS, **REGISTERED}.get(name) is model_class:
        return name
    return f"{model_class.__module__}:{name}"


def class_name(name: str) -> str:
    """Without the module: what a file says must import nothing.

    Example:
        >>> class_name("my_models:MyModel"), class_name("SASRec")
        ('MyModel', 'SASRec')
    """
    return name.rpartition(":")[2]


def importing_nothing(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings out of a file, classes by their names only: their modules are said anew.

    Example:
        >>> importing_nothing({"model": "mine:A", "teacher": {"model": "mine:B"}, "epochs": 3})
        {'model': 'A', 'teacher': {'model': 'B'}, 'epochs': 3}
    """
    kept = {key: value for key, value in settings.items() if key != "model_classes"}
    if isinstance(kept.get("model"), str):
        kept["model"] = class_name(kept["model"])
    for first_phase in ("teacher", "pretraining"):
        if isinstance(kept.get(first_phase), dict):
            kept[first_phase] = importing_nothing(kept[first_phase])
    return kept


def _imported(name: str) -> type:
    """The class of ``package.module:Class``; a module in the current folder counts."""
    module_name, _, attribute = name.partition(":")
    if module_name.endswith(".py"):
        raise ConfigError(f"model={name!r}: write {module_name.removesuffix('.py')}:{attribute}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return _known(getattr(importlib.import_module(module_name), attribute))
    except ConfigError:
        raise
    except Exception as error:  # whatever the user's module may do
        what = f"{type(error).__name__}: {error}"
        raise ConfigError(f"model={name!r}: cannot be imported ({what})") from error


def _known(model_class: Any) -> type:
    """A class of the user's; from now on its own name stands for it."""
    if not isinstance(model_class, type) or not issubclass(model_class, SequentialRecommender):
        raise ConfigError(f"{model_class!r}: expected a class of RecBole's SequentialRecommender")
    name = model_class.__name__
    if name in {**STAND_INS, **REGISTERED} or name in stock_models():
        raise ConfigError(f"{name_of(model_class)}: there is a model {name} already; rename yours")
    _OF_THE_USER[name] = model_class
    return model_class
