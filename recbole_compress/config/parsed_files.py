"""YAML files that come with a package, each parsed once: a run makes several configs, a comparison
or a search hundreds, and parsing was nearly all that they took."""

from __future__ import annotations

import copy
import functools
import os
from typing import Any

import yaml

__all__ = ["parsed"]


def parsed(path: str | os.PathLike[str], loader: Any) -> Any:
    """What ``yaml.load`` makes of a file with this loader; a value of one's own.

    Parsed again when the file has changed.
    """
    stat = os.stat(path)
    return copy.deepcopy(_parsed(os.fspath(path), (stat.st_mtime_ns, stat.st_size), loader))


@functools.lru_cache(maxsize=256)
def _parsed(path: str, _stamp: tuple[int, int], loader: Any) -> Any:
    with open(path, encoding="utf-8") as file:
        return yaml.load(file.read(), Loader=loader)
