"""Reading config files, one clear line per fault."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from recbole_compress.config.properties_folder import properties_folder
from recbole_compress.config.values import PlainLoader, parse_value
from recbole_compress.errors import ConfigError

__all__ = [
    "all_config_files",
    "config_file_names",
    "own_or_ours",
    "read_config_file",
    "with_config_files",
]


def config_file_names(value: Any) -> list[str]:
    """The files that ``--config_files="a.yaml b.yaml"`` (or a list of them) names.

    Example:
        >>> config_file_names("a.yaml b.yaml"), config_file_names("['my run.yaml']")
        (['a.yaml', 'b.yaml'], ['my run.yaml'])
    """
    if isinstance(value, str):
        value = parse_value(value) if value.startswith("[") else value.split()
    return [os.fspath(name) for name in value or []]


def all_config_files(
    given: Iterable[str | os.PathLike] | str | os.PathLike | None, *sources: Mapping[str, Any]
) -> list[str | os.PathLike]:
    """Those of a list, or the one, and those that ``config_files`` names in sources; weakest first.

    Example:
        >>> all_config_files("a.yaml", {"config_files": "b.yaml c.yaml"}, {"epochs": 3})
        ['a.yaml', 'b.yaml', 'c.yaml']
    """
    files = [given] if isinstance(given, (str, os.PathLike)) else [*(given or [])]
    for source in sources:
        files += config_file_names(source.get("config_files"))
    return files


def read_config_file(path: str | Path) -> dict[str, Any]:
    """The settings in a yaml file; ``properties/...`` may also be one of those that come with us.

    Raises:
        ConfigError: It cannot be read, is not yaml, or is something else than ``key: value`` lines.
    """
    try:
        text = own_or_ours(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"config file {path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path}: cannot be read ({error})") from error
    try:
        settings = yaml.load(text, Loader=PlainLoader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"config file {path}: not valid yaml{_place(error)}") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise ConfigError(f"config file {path}: expected lines of the form 'key: value'")
    if "config_files" in settings:
        raise ConfigError(f"config file {path}: config_files belongs on the command line")
    return settings


def with_config_files(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with those of the files that they name, which are weaker, in place of the names.

    Raises:
        ConfigError: A file cannot be used.

    Example:
        >>> with_config_files({"epochs": 3, "config_files": []})
        {'epochs': 3}
    """
    given = dict(settings)
    merged: dict[str, Any] = {}
    for name in config_file_names(given.pop("config_files", None)):
        merged |= read_config_file(name)
    return {**merged, **given}


def own_or_ours(name: str | os.PathLike) -> Path:
    """A file's path; that of the file which comes with us for ``properties/...``, if only that is
    there.
    """
    path = Path(name)
    if path.parts[:1] == ("properties",) and not path.exists():
        return properties_folder().joinpath(*path.parts[1:])
    return path


def _place(error: Exception) -> str:
    problem = getattr(error, "problem", None) or ""
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}: {problem}" if mark else (f": {problem}" if problem else "")
