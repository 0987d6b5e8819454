"""Short tables of some runs of a comparison, for the pages that explain it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.fresh_process import ROOT
from recbole_compress.reports.readable import UNKNOWN, byte_count, markdown, number

__all__ = ["ChosenRuns"]

RESULTS = ROOT / "docs" / "results"

Entry = Mapping[str, Any]
# What stands in a row: from its entry, the reference's and the metric.
Column = Callable[[Entry, Entry, str], str]


@dataclass(frozen=True)
class ChosenRuns:
    """Some entries of ``docs/results/<experiment>/comparison.json``, and what a page calls them."""

    experiment: str
    dataset: str
    columns: Sequence[str]
    names: Mapping[str, str]
    title: str = ""

    def __call__(self) -> str:
        """The table; an entry that was not run yet has no row."""
        path = RESULTS / self.experiment / "comparison.json"
        dataset = json.loads(path.read_text(encoding="utf-8"))["datasets"][self.dataset]
        entries, metric = dataset["entries"], dataset["metric"]
        reference = entries[dataset["reference"]]
        rows = [
            [name, *(COLUMNS[column](entries[entry], reference, metric) for column in self.columns)]
            for entry, name in self.names.items()
            if entry in entries
        ]
        return markdown([self.title, *self.columns], rows)


def _bytes(entry: Entry) -> int:
    """Those of a file where one was made, as its overhead is part of it."""
    return entry["size_bytes"]["file"] or entry["size_bytes"]["total"]


def _table_bytes(entry: Entry) -> int:
    return entry["size_bytes"]["item_input"] + entry["size_bytes"]["item_output"]


def _smaller(entry: int, reference: int) -> str:
    ratio = reference / entry
    return f"{ratio:.0f}" if ratio >= 19.95 or ratio == 1 else f"{ratio:.1f}"


def _measured(split: str) -> Column:
    return lambda entry, reference, metric: number(entry["metrics"][split][metric]["mean"], ".4f")


def _in_group(kind: str, group: str) -> Column:
    def value(entry, reference, metric):
        return number(((entry[kind] or {}).get(group) or {}).get(metric), ".4f")

    return value


def _by_user(entry, reference, metric):
    if entry is reference:
        return ""
    difference = (entry["against_reference"] or {}).get(metric)
    if difference is None or difference["low"] is None:
        return UNKNOWN
    return "{relative:+.1%} ({low:+.1%} to {high:+.1%})".format(**difference)


COLUMNS: dict[str, Column] = {
    "bytes": lambda entry, reference, metric: byte_count(_bytes(entry)),
    "times smaller": lambda entry, reference, metric: _smaller(_bytes(entry), _bytes(reference)),
    "its table": lambda entry, reference, metric: _smaller(
        _table_bytes(entry), _table_bytes(reference)
    ),
    "NDCG@10 valid": _measured("valid"),
    "test": _measured("test"),
    "user by user": _by_user,
    "again": _in_group("novelty", "again"),
    "new": _in_group("novelty", "new"),
    "head": _in_group("popularity", "head"),
    "tail": _in_group("popularity", "tail"),
    "unseen": _in_group("popularity", "unseen"),
    "seeds": lambda entry, reference, metric: str(len(entry["seeds"])),
}
