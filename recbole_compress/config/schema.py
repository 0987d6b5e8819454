"""The yaml files are the schema: ``key: default  # (type) Meaning. Range in [a, b].``"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recbole_compress.config.keys_read import keys_read_by_class, keys_read_everywhere
from recbole_compress.config.model_names import inherited_from, stock_models
from recbole_compress.config.properties_folder import (
    RECBOLE_PROPERTIES,
    dataset_yaml,
    model_yaml,
    overall_yaml,
    recbole_yaml,
)
from recbole_compress.config.values import PlainLoader

__all__ = ["Declared", "declared_in", "load_schema", "owners_of_key"]

TYPE_NAMES = ("int", "float", "bool", "str", "list", "tuple", "dict", "None")
_SPELLINGS = {"string": "str", "boolean": "bool", "integer": "int", "optional": "None"}
_LINE = re.compile(r"^(?P<key>[A-Za-z_][\w-]*)\s*:(?P<rest>.*)$", re.MULTILINE)
_TYPE = re.compile(r"#\s*\((?P<types>[^)]*)\)")
_CHOICES = re.compile(r"#.*Range in (?P<choices>\[[^\]]*\])")


@dataclass(frozen=True)
class Declared:
    """What a yaml line says about its key.

    Attributes:
        types: Names out of :data:`TYPE_NAMES`; empty where nothing is known, then anything goes.
        default: The value in the file.
        choices: What a text must be one of; empty where everything is allowed.
        file: Where it stands, for messages; empty for keys without a line.
    """

    types: tuple[str, ...] = ()
    default: Any = None
    choices: tuple[Any, ...] = ()
    file: str = ""


# Keys of a run rather than of a yaml file: the names, and what RecBole's launcher hands to every
# process of a distributed run (its other keys stand in our overall.yaml).
_OF_A_RUN = {
    "model": Declared(),
    "dataset": Declared(types=("str",)),
    "offset": Declared(types=("int",)),
    "local_rank": Declared(types=("int",)),
    "encoding": Declared(types=("str", "None")),
}
# RecBole accepts more here than its comments say.
_NEVER_NONE = {
    *("data_path", "checkpoint_dir", "field_separator", "seq_separator"),
    *("USER_ID_FIELD", "ITEM_ID_FIELD", "LIST_SUFFIX", "ITEM_LIST_LENGTH_FIELD"),
    *("metrics", "topk", "valid_metric", "eval_args"),
}
_MORE_TYPES = {"gpu_id": ("int", "tuple"), "additional_feat_suffix": ("str",)}


@functools.cache
def declared_in(path: Path) -> dict[str, Declared]:
    """Every top-level key of a yaml file with its type, default and choices.

    RecBole's own lines are read generously: the default's type and mostly None are fine as well,
    and choices are left to RecBole, because its comments are not always right.
    """
    text = path.read_text(encoding="utf-8")
    defaults = yaml.load(text, Loader=PlainLoader) or {}
    recboles = RECBOLE_PROPERTIES in path.parents
    found = {}
    for line in _LINE.finditer(text):
        key, rest = line["key"], line["rest"]
        default = defaults.get(key)
        types = _declared_types(rest)
        if types or default is not None:
            if recboles or not types:
                types += (_type_name(default), *_MORE_TYPES.get(key, ()))
            if default is None or (recboles and _can_be_none(key, types)):
                types += ("None",)
        choices = _CHOICES.search(rest)
        found[key] = Declared(
            types=tuple(dict.fromkeys(types)),
            default=default,
            choices=tuple(yaml.safe_load(choices["choices"])) if choices and not recboles else (),
            file=str(path),
        )
    return found


def _can_be_none(key: str, types: tuple[str, ...]) -> bool:
    """RecBole takes None for many keys without saying so, but hardly for a number."""
    return key not in _NEVER_NONE and not set(types) <= {"int", "float"}


def _declared_types(comment: str) -> tuple[str, ...]:
    """``# (list of int or None) ...`` -> ``("list", "None")``; empty where it names no type."""
    match = _TYPE.search(comment)
    if match is None:
        return ()
    words = [part.split()[0] for part in re.split(r"\bor\b|,", match["types"]) if part.strip()]
    names = [_SPELLINGS.get(word, word) for word in words]
    return tuple(names) if all(name in TYPE_NAMES for name in names) else ()


def _type_name(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def load_schema(
    model_name: str, dataset_name: str, model_class: type | None = None
) -> dict[str, Declared]:
    """All keys that a run of this model on this data set knows.

    Args:
        model_name: Name of a model, ours or RecBole's.
        dataset_name: Name of a data set, with or without a yaml file.
        model_class: The model's class; keys that its code reads without a yaml line count too.

    Example:
        >>> schema = load_schema("CpRecNextItNet", "ml-100k")
        >>> schema["residual_block"].types, schema["residual_block"].choices
        (('str',), ('a', 'b'))
        >>> schema["epochs"].types, "n_heads" in schema
        (('int',), False)
    """
    schema = {key: Declared() for key in keys_read_everywhere()}
    if model_class is not None:
        schema |= {key: Declared() for key in keys_read_by_class(model_class)}
    schema |= _OF_A_RUN
    inherited = inherited_from(model_class) if model_class is not None else []
    for path in _files([*inherited, model_name], dataset_name):
        schema |= declared_in(path)
    return schema


def _files(models: Sequence[str], dataset: str) -> Iterator[Path]:
    """RecBole's files, then ours; what stands in a later one counts."""
    candidates = [recbole_yaml("overall"), recbole_yaml("dataset/sample")]
    candidates += [recbole_yaml(f"model/{model}") for model in models]
    candidates += [recbole_yaml(f"dataset/{dataset}"), overall_yaml(), dataset_yaml(dataset)]
    candidates += [model_yaml(model) for model in models]
    yield from (path for path in candidates if path is not None)


def owners_of_key(key: str, n: int = 3) -> list[str]:
    """Sequential models whose yaml file has this key, ours first; at most ``n``."""
    ours = overall_yaml()
    folders = [ours.parent / "model"] if ours else []
    folders.append(RECBOLE_PROPERTIES / "model")
    files = [path for folder in folders for path in sorted(folder.glob("*.yaml"))]
    owners = (path.stem for path in files if key in declared_in(path))
    return list(itertools.islice((name for name in owners if _is_sequential(name)), n))


def _is_sequential(model: str) -> bool:
    return model_yaml(model) is not None or model in stock_models("sequential")
