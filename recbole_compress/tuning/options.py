"""What the ``tune`` command is told, apart from the settings of its trials."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from recbole_compress.config.properties_folder import tune_yaml
from recbole_compress.config.schema import declared_in
from recbole_compress.config.validation import check_keys
from recbole_compress.config.values import parse_value
from recbole_compress.errors import ConfigError

__all__ = ["Options", "near_option", "split_arguments"]

# What only one tool can do; a value that would be ignored is refused instead.
_ONLY_WITH = {
    "Hyperopt": ("early_stop",),
    "Ray": ("scheduler", "cpus_per_trial", "gpus_per_trial"),
}
TRIALS = 30


@dataclass(frozen=True)
class Options:
    """The keys of ``properties/tune.yaml``, which says what they mean."""

    tool: str
    params_file: str | None
    algo: str
    max_evals: int | None
    early_stop: int | None
    output_file: str | None
    scheduler: str
    cpus_per_trial: int
    gpus_per_trial: float


def split_arguments(given: Mapping[str, str]) -> tuple[Options, dict[str, str]]:
    """The command's own options, and the settings that hold for every trial, still as text.

    Raises:
        ConfigError: A value of the wrong type, out of its range, or that the tool cannot use.

    Example:
        >>> options, fixed = split_arguments({"algo": "random", "epochs": "3"})
        >>> options.algo, options.tool, fixed
        ('random', 'Hyperopt', {'epochs': '3'})
    """
    declared = declared_in(tune_yaml())
    texts = {key: text for key, text in given.items() if key in declared}
    source = dict.fromkeys(texts, "command line")
    values: dict[str, Any] = {key: parse_value(text) for key, text in texts.items()}
    values = check_keys(values, declared, source, texts)
    options = Options(**{f.name: values.get(f.name, declared[f.name].default) for f in _FIELDS})
    for key, least in (("max_evals", 1), ("early_stop", 1), ("cpus_per_trial", 1)):
        if values.get(key) is not None and values[key] < least:
            raise ConfigError(f"{key}={values[key]}: expected a number of at least {least}")
    if options.gpus_per_trial < 0:
        raise ConfigError(f"gpus_per_trial={options.gpus_per_trial}: expected 0 or more")
    for tool, keys in _ONLY_WITH.items():
        for key in keys:
            if tool != options.tool and values.get(key, declared[key].default) != (
                declared[key].default
            ):
                raise ConfigError(f"{key}={values[key]}: works with --tool={tool} only")
    if options.tool == "Ray" and options.algo == "bayes":
        if "algo" in values:
            raise ConfigError("algo=bayes: works with --tool=Hyperopt only; take --algo=random")
        options = Options(**{**vars(options), "algo": "random"})
    return options, {key: text for key, text in given.items() if key not in declared}


_FIELDS = fields(Options)


def near_option(key: str) -> str | None:
    """The option that a misspelt key was probably meant to be.

    Example:
        >>> near_option("max_eval"), near_option("epochs")
        ('max_evals', None)
    """
    near = difflib.get_close_matches(key, [f.name for f in _FIELDS], n=1, cutoff=0.8)
    return near[0] if near else None
