"""``comparison.json``: every card of an experiment, and what they say together."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_compress.comparison.experiment import Experiment
from recbole_compress.comparison.finished import Finished
from recbole_compress.comparison.latency import measured_in_turns
from recbole_compress.comparison.rank_metrics import metric_per_row, told_from_ranks
from recbole_compress.comparison.restore import RESULTS
from recbole_compress.comparison.row_groups import NOVELTY, POPULARITY, popularity_groups
from recbole_compress.comparison.run_files import RunFiles
from recbole_compress.comparison.settings import CheckedRun
from recbole_compress.comparison.statistics import (
    mean_and_deviation,
    mean_per_user,
    paired_difference,
    row_fingerprints,
)
from recbole_compress.comparison.told_before import keep_what_was_told, results_before
from recbole_compress.files import replacing
from recbole_compress.reports.environment import commit, environment
from recbole_compress.trainers.ranks import RankRecords, read_ranks

__all__ = ["build_document", "shown_metrics", "write_document"]

SCHEMA = 1
WANTED = ("ndcg@10", "hit@10", "mrr@5", "mrr@20")
AT_MOST = 4
NOT_RUN = "not run yet"
OTHER_ROWS = "other test rows"
NO_ROWS = "rows of some seeds only"


def build_document(
    experiment: Experiment,
    runs: Sequence[CheckedRun],
    folder: Path,
    failures: Mapping[tuple[str, str, int], str] | None = None,
) -> dict[str, Any]:
    """Put together what lies in ``folder``.

    Args:
        experiment: What was asked for.
        runs: Its runs, checked.
        folder: Where they were run.
        failures: From :func:`~recbole_compress.comparison.runs.run_missing`.

    Returns:
        ``experiment``; ``datasets``, each with its ``entries`` (means over seeds, differences
        from the reference, or why it is ``not_compared`` with it, accuracy by popularity, cost;
        where the rows of the same runs are gone, as the results file there tells);
        ``runs``, the cards; ``missing``, why a run is not among them; ``set_aside``, what the
        results file there tells of runs that are not asked for; ``provenance``.
    """
    finished = Finished(runs, folder)
    found: list[tuple[CheckedRun, RunFiles, dict[str, Any]]] = []
    missing = []
    for run in runs:
        card = finished.card(run)
        if card is not None:
            found.append((run, RunFiles.of(folder, run.planned), card))
            continue
        dataset, entry, seed = run.planned.key
        reason = (failures or {}).get(run.planned.key, NOT_RUN)
        missing.append({"dataset": dataset, "entry": entry, "seed": seed, "reason": reason})
    document = {
        "schema": SCHEMA,
        "experiment": {
            "name": experiment.name,
            "about": experiment.about,
            "seeds": list(experiment.seeds),
            "reference": experiment.reference,
        },
        "datasets": {
            dataset: _dataset(
                experiment,
                dataset,
                [part for part in found if part[0].planned.dataset == dataset],
                measured_in_turns(runs, folder, dataset),
            )
            for dataset in experiment.datasets
        },
        "missing": missing,
        "runs": [
            {
                "dataset": run.planned.dataset,
                "entry": run.planned.entry,
                "seed": run.planned.seed,
                "settings": run.settings,
                "card": _portable(card, folder, files),
            }
            for run, files, card in found
        ],
        "provenance": {
            **environment(),
            "commit": commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    }
    keep_what_was_told(document, results_before(folder / RESULTS))
    return document


def write_document(document: Mapping[str, Any], path: Path) -> None:
    """Write it whole or not at all, as strict JSON."""
    with replacing(str(path)) as file:
        file.write(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def shown_metrics(available: Iterable[str], first: str) -> list[str]:
    """The few metrics that a table has room for: the one that chose the epoch, then the usual ones.

    Example:
        >>> shown_metrics(["hit@10", "ndcg@5", "ndcg@10", "mrr@5"], "ndcg@10")
        ['ndcg@10', 'hit@10', 'mrr@5']
        >>> shown_metrics(["recall@20", "hit@20"], "recall@20")
        ['recall@20', 'hit@20']
    """
    available = list(available)
    wanted = [name for name in (first, *WANTED) if name in available]
    return list(dict.fromkeys(wanted if len(wanted) > 1 else [*wanted, *available]))[:AT_MOST]


def _dataset(
    experiment: Experiment,
    dataset: str,
    found: Sequence[tuple[CheckedRun, RunFiles, dict[str, Any]]],
    latency: Mapping[str, Any],
) -> dict[str, Any]:
    reference = experiment.reference_of(dataset)
    if not found:
        return {"metric": None, "shown": [], "reference": reference, "entries": {}}
    metric = found[0][0].valid_metric
    available = found[0][2]["metrics"]["test"] or {}
    shown = shown_metrics(available, metric)
    entries: dict[str, Any] = {}
    ranks: dict[str, list[RankRecords]] = {}
    of_some_seeds: set[str | None] = set()
    for entry in experiment.runs:
        parts = [part for part in found if part[0].planned.entry == entry]
        if parts:
            entries[entry] = _entry([card for *_, card in parts])
            entries[entry]["seeds"] = [run.planned.seed for run, *_ in parts]
            of_seeds = [files for _, files, _ in parts]
            ranks[entry] = _ranks(of_seeds)
            if not ranks[entry] and any(files.ranks.exists() for files in of_seeds):
                of_some_seeds.add(entry)
    tested = [name for name in shown if _all_tell(name, ranks)]
    per_user = {
        entry: _per_user(records, tested) for entry, records in ranks.items() if records and tested
    }
    for entry, records in ranks.items():
        entries[entry]["popularity"] = _by_popularity(records, tested)
        entries[entry]["novelty"] = _by_novelty(records, tested)
        others = (per_user.get(entry), per_user.get(reference or ""))
        entries[entry]["against_reference"] = _against(*others, tested)
        # Both have rows, but no pairs of them.
        both = entry != reference and {entry, reference} <= per_user.keys()
        if both and entries[entry]["against_reference"] is None:
            entries[entry]["not_compared"] = OTHER_ROWS
        elif entry != reference and {entry, reference} & of_some_seeds:
            entries[entry]["not_compared"] = NO_ROWS
    for entry in entries:
        entries[entry]["latency_in_turns_ms"] = latency.get(entry)
    return {
        "metric": metric,
        "shown": shown,
        "reference": reference,
        "entries": entries,
        **_rows(ranks),
    }


def _entry(cards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over seeds; what does not depend on the seed is the first one's.

    Times and memory are those of the machines that are like the first one's.
    """
    first = cards[0]
    alike = [card for card in cards if _machine(card) == _machine(first)]

    def over_seeds(*path: str, of: Sequence[Mapping[str, Any]] = cards) -> dict[str, Any]:
        return mean_and_deviation([_at(card, path) for card in of])

    return {
        "model": first["model"],
        "choices": first["choices"],
        "n_items": first["n_items"],
        "metrics": {
            split: {name: over_seeds("metrics", split, name) for name in result or {}}
            for split, result in first["metrics"].items()
        },
        **{
            name: first[name]
            for name in ("parameters", "size_bytes", "reference_bytes", "compression_ratio")
        },
        "macs_per_request": first["macs_per_request"],
        "training": {name: over_seeds("training", name, of=alike) for name in first["training"]},
        "latency_ms": {
            **first["latency_ms"],
            **{name: over_seeds("latency_ms", name, of=alike)["mean"] for name in ("p50", "p95")},
        },
    }


def _machine(card: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(card["environment"].get(name) for name in ("cpu", "gpu"))


def _at(card: Any, path: Sequence[str]) -> Any:
    for name in path:
        card = (card or {}).get(name)
    return card


def _ranks(files: Sequence[RunFiles]) -> list[RankRecords]:
    """Of all seeds, as the means are; none where one has none."""
    if not all(each.ranks.exists() for each in files):
        return []
    return [read_ranks(str(each.ranks)) for each in files]


def _all_tell(name: str, ranks: Mapping[str, Sequence[RankRecords]]) -> bool:
    depths = [record.depth for records in ranks.values() for record in records]
    return bool(depths) and told_from_ranks(name, min(depths))


class _PerUser(NamedTuple):
    """Users, sorted, and their metrics; which rows those are means of."""

    users: np.ndarray
    means: np.ndarray
    rows: np.ndarray


def _per_user(records: Sequence[RankRecords], metrics: Sequence[str]) -> _PerUser | None:
    """Mean over a user's rows, then over seeds; None if the seeds were tested on different rows."""
    found: list[_PerUser] = []
    for record in records:
        values = np.stack([metric_per_row(name, record.ranks) for name in metrics], axis=1)
        rows = row_fingerprints(record.users, record.items)
        if found and not np.array_equal(found[0].rows, rows):
            return None
        found.append(_PerUser(*mean_per_user(record.users, values), rows))
    return found[0]._replace(means=np.mean([each.means for each in found], axis=0))


def _against(
    ours: _PerUser | None, reference: _PerUser | None, metrics: Sequence[str]
) -> dict[str, Any] | None:
    """Differences by metric; None where there are no pairs to compare."""
    if ours is None or reference is None or ours is reference:
        return None
    if not np.array_equal(ours.rows, reference.rows):
        return None
    differences = paired_difference(ours.means, reference.means)
    return {name: each._asdict() for name, each in zip(metrics, differences, strict=True)}


def _by_popularity(records: Sequence[RankRecords], metrics: Sequence[str]) -> dict[str, Any] | None:
    """Metrics per popularity group of the target, mean over seeds."""
    groups = [popularity_groups(record.item_counts, record.counts) for record in records]
    inside = {name: [each == n for each in groups] for n, name in enumerate(POPULARITY)}
    return _by_group(records, metrics, inside)


def _by_novelty(records: Sequence[RankRecords], metrics: Sequence[str]) -> dict[str, Any] | None:
    """The same for targets that the sequence holds already, and for new ones."""
    again = [record.repeated for record in records if record.repeated is not None]
    if len(again) < len(records):
        return None
    return _by_group(
        records, metrics, dict(zip(NOVELTY, (again, [~a for a in again]), strict=True))
    )


def _by_group(
    records: Sequence[RankRecords],
    metrics: Sequence[str],
    inside: Mapping[str, Sequence[np.ndarray]],
) -> dict[str, Any] | None:
    """Metrics per group of rows; the groups of every seed's rows are given as masks."""
    if not records or not metrics:
        return None
    return {
        group: {
            "share_of_rows": float(np.mean([each.mean() for each in masks])),
            **{
                name: mean_and_deviation(
                    [
                        float(metric_per_row(name, record.ranks[each]).mean())
                        for record, each in zip(records, masks, strict=True)
                        if each.any()
                    ]
                )["mean"]
                for name in metrics
            },
        }
        for group, masks in inside.items()
    }


def _rows(ranks: Mapping[str, Sequence[RankRecords]]) -> dict[str, Any]:
    """How many rows were tested, and how many items each popularity group has."""
    records = next((records[0] for records in ranks.values() if records), None)
    if records is None:
        return {"test_rows": None, "test_users": None, "items_in_group": None}
    of_items = popularity_groups(records.item_counts, records.item_counts)
    return {
        "test_rows": len(records.ranks),
        "test_users": len(np.unique(records.users)),
        "items_in_group": {
            group: int((of_items == number).sum()) for number, group in enumerate(POPULARITY)
        },
    }


def _portable(card: Mapping[str, Any], folder: Path, files: RunFiles) -> dict[str, Any]:
    """A card whose paths hold wherever the folder is taken, and was taken before."""
    taken: dict[str, Any] = copy.deepcopy(dict(card))
    paths = {name: path for name, path in (taken.get("files") or {}).items() if path}
    own = os.sep + str(files.stem.relative_to(folder)) + os.sep
    made_in = next((path.partition(own)[0] for path in paths.values() if own in path), folder)
    for name, path in paths.items():
        taken["files"][name] = os.path.relpath(path, made_in)
    return taken
