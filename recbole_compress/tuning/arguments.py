"""The arguments of the ``tune`` command: its own options, and the settings of its trials."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from recbole_compress.config.properties_folder import tune_yaml
from recbole_compress.config.schema import declared_in
from recbole_compress.config.validation import check_keys
from recbole_compress.config.values import parse_value
from recbole_compress.errors import ConfigError
from recbole_compress.tuning.options import Options
from recbole_compress.tuning.tools import TOOLS

__all__ = ["as_arguments", "split_arguments"]


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
    names = [field.name for field in dataclasses.fields(Options)]
    options = Options(**{name: values.get(name, declared[name].default) for name in names})
    for key, least in (("max_evals", 1), ("early_stop", 1), ("cpus_per_trial", 1)):
        if values.get(key) is not None and values[key] < least:
            raise ConfigError(f"{key}={values[key]}: expected a number of at least {least}")
    if options.gpus_per_trial < 0:
        raise ConfigError(f"gpus_per_trial={options.gpus_per_trial}: expected 0 or more")
    # A value that would be ignored is refused instead.
    for name, tool in TOOLS.items():
        for key in tool.own_options:
            if name != options.tool and values.get(key, declared[key].default) != (
                declared[key].default
            ):
                raise ConfigError(f"{key}={values[key]}: works with --tool={name} only")
    options = dataclasses.replace(options, algo=_algo(options, "algo" in values))
    return options, {key: text for key, text in given.items() if key not in declared}


def _algo(options: Options, asked_for: bool) -> str:
    """The algorithm, or one that the tool knows in place of a default that it does not."""
    algos = TOOLS[options.tool].algos
    if options.algo in algos:
        return options.algo
    if asked_for:
        others = [f"--tool={name}" for name, tool in TOOLS.items() if options.algo in tool.algos]
        raise ConfigError(
            f"algo={options.algo}: works with {' or '.join(others)} only; take --algo={algos[0]}"
        )
    return algos[0]


def as_arguments(settings: Mapping[str, Any]) -> list[str]:
    """Settings as they are given on a command line.

    Example:
        >>> as_arguments({"epochs": "3", "use_gpu": False})
        ['--epochs=3', '--use_gpu=False']
    """
    return [f"--{key}={value}" for key, value in settings.items()]
