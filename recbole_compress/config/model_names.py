"""Which models there are, found without importing them."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import recbole
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
    """The class of that name, ours or RecBole's.

    RecBole's lookup goes on to its tree models for an unknown name and so reports a missing
    ``lightgbm``; this asks first whether there is such a model.

    Raises:
        ConfigError: No model of that name; says which come near.
    """
    ours = {**STAND_INS, **REGISTERED}
    if name in ours:
        return ours[name]
    if name not in stock_models():
        known = {*ours, *stock_models("sequential")}
        raise ConfigError(f"model={name!r}: {did_you_mean(name, known)}")
    try:
        return get_model(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"model={name!r}: RecBole needs {error.name!r} for it") from error
