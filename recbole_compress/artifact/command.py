"""``recbole-compress recommend model.onnx --items="a b c"``."""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Callable
from typing import Any

from recbole_compress.arguments import read_file_arguments
from recbole_compress.artifact.recommender import Recommender
from recbole_compress.errors import ArtifactError

__all__ = ["recommend"]


def _number(text: str) -> int:
    return int(text)


def _switch(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


_NUMBER = "expected a whole number"
_TOKENS = 'a quote is open; write a token with spaces or quotes as "a b"'
_WANTED = {"items": _TOKENS, "candidates": _TOKENS, "k": _NUMBER, "threads": _NUMBER}

OPTIONS: dict[str, Callable[[str], Any]] = {
    "items": shlex.split,  # quotes around a token with spaces
    "candidates": shlex.split,
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
    options.setdefault("k", recommender.session.said("k"))
    found = recommender.recommend(items, **options)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a console may lack a token's letters
        sys.stdout.reconfigure(errors="replace")
    width = max((len(one.item) for one in found), default=0)
    for place, one in enumerate(found, 1):
        print(f"{place:>3}  {one.item:<{width}}  {one.score:9.4f}")


def _read(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    usage = 'recbole-compress recommend FILE --items="a b c"'
    path, out, given = read_file_arguments(arguments, usage, OPTIONS, ("exclude_history",))
    if out is not None:
        raise ArtifactError(f"-o {out}: recommendations are printed; leave it out")
    options = {}
    for key, text in given.items():
        try:
            options[key] = OPTIONS[key](text)
        except (ValueError, KeyError):
            wanted = _WANTED.get(key, "choose True or False")
            raise ArtifactError(f"--{key}={text}: {wanted}") from None
    return path, options
