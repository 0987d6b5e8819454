"""What the results file told already, of runs that are not asked for or whose rows are gone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Mapping
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
    if those of the reference are as well. What today's choice of runs leaves out is set aside in
    the document, for a later choice.

    Args:
        document: Of :func:`~recbole_compress.comparison.document.build_document`; changed.
        before: Of :func:`results_before`.
    """
    aside = {"runs": [], "told": [], **(before.get("set_aside") or {})}
    told = [*_told(before), *aside["told"]]  # the latest first
    for name, dataset in document["datasets"].items():
        entries, reference = dataset["entries"], dataset["reference"]
        runs = {entry: _fingerprint(document, name, entry) for entry in entries}
        without_rows = {entry for entry in entries if entries[entry]["popularity"] is None}
        for then in told:
            entry = then["entry"]
            if then["dataset"] != name or then["runs"] != runs.get(entry):
                continue
            _fill(dataset, then, _OF_THE_ROWS)
            _fill(entries[entry], then, _OF_ITSELF)
            same = (reference, runs.get(reference)) == (then["reference"], then["reference_runs"])
            if same and {entry, reference} & without_rows:
                _fill(entries[entry], then, ("against_reference",))
                if entries[entry]["against_reference"]:
                    entries[entry].pop("not_compared", None)
    asked_for = [*document["runs"], *document["missing"]]
    document["set_aside"] = {
        "runs": _others([*(before.get("runs") or []), *aside["runs"]], asked_for, _run_key),
        "told": _others(told, _told(document), _subject),
    }


def _told(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What rows say of each entry, and of which runs: a line of ``set_aside``."""
    lines = []
    for name, dataset in (document.get("datasets") or {}).items():
        for entry, found in dataset["entries"].items():
            told = {key: found.get(key) for key in (*_OF_ITSELF, "against_reference")}
            if not any(told.values()):
                continue
            lines.append(
                {
                    "dataset": name,
                    "entry": entry,
                    "reference": dataset["reference"],
                    "seeds": found["seeds"],
                    "runs": _fingerprint(document, name, entry),
                    "reference_runs": _fingerprint(document, name, dataset["reference"]),
                    **told,
                    **{key: dataset.get(key) for key in _OF_THE_ROWS},
                }
            )
    return lines


def _others(
    lines: Iterable[dict[str, Any]],
    present: Iterable[Mapping[str, Any]],
    key: Callable[[Mapping[str, Any]], Hashable],
) -> list[dict[str, Any]]:
    """Those whose key no line present has; the first of each key."""
    first: dict[Hashable, dict[str, Any]] = {}
    for line in lines:
        first.setdefault(key(line), line)
    taken = {key(line) for line in present}
    return [line for each, line in first.items() if each not in taken]


def _run_key(run: Mapping[str, Any]) -> Hashable:
    return run["dataset"], run["entry"], run["seed"]


def _subject(line: Mapping[str, Any]) -> Hashable:
    return line["dataset"], line["entry"], line["reference"], tuple(line["seeds"])


def _fill(now: dict[str, Any], then: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        if now.get(key) is None and then.get(key) is not None:
            now[key] = then[key]


def _fingerprint(document: Mapping[str, Any], dataset: str, entry: str | None) -> str | None:
    """Of the runs that an entry's numbers come from; None where there are none.

    Where their files lie does not matter.
    """
    runs = [
        {**run, "card": {**run["card"], "files": None}}
        for run in document.get("runs") or []
        if (run["dataset"], run["entry"]) == (dataset, entry)
    ]
    if not runs:
        return None
    return hashlib.sha256(json.dumps(runs, sort_keys=True).encode()).hexdigest()
