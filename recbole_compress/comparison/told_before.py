"""What the results file told already, of runs whose rows are not here any more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["keep_what_was_told", "results_before"]

_OF_ITSELF = ("popularity", "novelty")
_OF_THE_ROWS = ("test_rows", "test_users", "items_in_group")


def results_before(path: Path) -> dict[str, Any]:
    """The document that a new one takes the place of; empty where there is none to read."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def keep_what_was_told(document: dict[str, Any], before: Mapping[str, Any]) -> None:
    """Fill in, where no rows say it anew, what an earlier document says of the very same runs.

    Ranks of rows stay where a run was made; its results file travels. So an experiment that is
    continued elsewhere keeps its tests and groups: an entry's if its runs are the same, differences
    if those of the reference are as well.

    Args:
        document: Of :func:`~recbole_compress.comparison.document.build_document`; changed.
        before: Of :func:`results_before`.
    """
    for name, now in document["datasets"].items():
        then = (before.get("datasets") or {}).get(name) or {}
        same = {
            entry
            for entry in now["entries"]
            if entry in then.get("entries", {})
            and _runs(document, name, entry) == _runs(before, name, entry)
        }
        reference = now["reference"] if now["reference"] == then.get("reference") else None
        without_rows = {entry for entry in same if now["entries"][entry]["popularity"] is None}
        for entry in same:
            here, there = now["entries"][entry], then["entries"][entry]
            _fill(here, there, _OF_ITSELF)
            if reference in same and {entry, reference} & without_rows:
                _fill(here, there, ("against_reference",))
                if here["against_reference"]:
                    here.pop("not_compared", None)
        if same:
            _fill(now, then, _OF_THE_ROWS)


def _fill(now: dict[str, Any], then: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        if now.get(key) is None and then.get(key) is not None:
            now[key] = then[key]


def _runs(document: Mapping[str, Any], dataset: str, entry: str) -> list[Any]:
    runs = document.get("runs") or []
    return [run for run in runs if (run["dataset"], run["entry"]) == (dataset, entry)]
