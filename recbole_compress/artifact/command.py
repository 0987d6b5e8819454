"""``recbole-compress recommend model.onnx --items="a b c"``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recbole_compress.artifact.recommender import Recommender
from recbole_compress.errors import ArtifactError
from recbole_compress.near_names import did_you_mean

__all__ = ["recommend"]


def _number(text: str) -> int:
    return int(text)


def _switch(text: str) -> bool:
    return {"true": True, "false": False, "": True}[text.lower()]


_OPTIONS: dict[str, Callable[[str], Any]] = {
    "items": str.split,
    "candidates": str.split,
    "k": _number,
    "threads": _number,
    "exclude_history": _switch,
    "user": str,
}


def recommend(arguments: list[str]) -> None:
    """Print the best items after a history, a line each."""
    path, options = _read(arguments)
    items = options.pop("items", None)
    if items is None:
        raise ArtifactError('no history: write --items="TOKEN TOKEN ...", the oldest item first')
    recommender = Recommender(path, options.pop("threads", 1))
    options.setdefault("k", recommender.info["k"])
    found = recommender.recommend(items, **options)
    width = max((len(one.item) for one in found), default=0)
    for place, one in enumerate(found, 1):
        print(f"{place:>3}  {one.item:<{width}}  {one.score:9.4f}")


def _read(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    if not arguments or arguments[0].startswith("-"):
        raise ArtifactError('no file named: write recbole-compress recommend FILE --items="a b c"')
    path, *given = arguments
    options = {}
    for argument in given:
        name, _, text = argument.removeprefix("--").partition("=")
        key = name.replace("-", "_")
        if not argument.startswith("--") or key not in _OPTIONS:
            raise ArtifactError(f"{argument}: {did_you_mean(key, _OPTIONS)}")
        try:
            options[key] = _OPTIONS[key](text)
        except (ValueError, KeyError):
            raise ArtifactError(f"{argument}: the value cannot be read") from None
    return path, options
