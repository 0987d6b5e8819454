"""CpRec's Table 6 from the cards of a comparison: accuracy fine-tuned, cost of the pre-training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.fresh_process import ROOT
from recbole_compress.reports.readable import UNKNOWN, byte_count, count, markdown, number

__all__ = ["FILE", "GAMES", "transfer"]

RESULTS = ROOT / "docs" / "results"
FILE = RESULTS / "ml-1m-transfer" / "comparison.json"
GAMES = RESULTS / "amazon-games-transfer" / "comparison.json"
SCRATCH = " from scratch"
HEADER = [
    *("run", "parameters", "size", "x fewer", "pre-training s", "HR@5 of 100", "MRR@5 of 100"),
    *(
        "of the reference's",
        "from scratch",
        "HR@5 of all",
        "MRR@5 of all",
        "of the reference's, of all",
        "fine-tuning s",
        "parameters after it",
        "seeds",
    ),
]
HOW_TO_READ = """\
Means over seeds, on the test split. *Parameters*, *size* and *pre-training s* are those of the
pre-trained model, as in the paper; *x fewer* beside {reference}'s. *Of 100*: the target and 99
sampled items; *of all*: the full ranking. *Of the reference's*: the MRR@5 beside {reference}'s
fine-tuned one. *From scratch*: MRR@5 of 100 of the same model without
pre-training. *Parameters after it*: with the target's own table, dense for all, in place of the
source's output table."""


def transfer(file: Path = FILE) -> str:
    """A row per run of the experiment; what to do where it was not run yet."""
    experiment = file.parent.name
    if not file.exists():
        return f"Not measured yet: `python -m benchmarks.comparisons {experiment}`."
    document = json.loads(file.read_text(encoding="utf-8"))
    cards: dict[str, list[Mapping[str, Any]]] = {}
    for run in document["runs"]:
        cards.setdefault(run["entry"], []).append(run["card"])
    reference = document["experiment"]["reference"]
    rows = [
        _row(entry, its, cards.get(reference), cards.get(entry + SCRATCH))
        for entry, its in cards.items()
        if not entry.endswith(SCRATCH)
    ]
    made = document["provenance"]
    source = (
        f"Source: [`{experiment}/comparison.json`]({experiment}/comparison.json); torch "
        f"{made['torch']}, {made['cpu']}, commit `{str(made['commit'])[:10]}`."
    )
    about = HOW_TO_READ.format(reference=reference)
    return "\n\n".join([markdown(HEADER, rows), about, source])


def _row(
    entry: str,
    cards: Sequence[Mapping[str, Any]],
    reference: Sequence[Mapping[str, Any]] | None,
    scratch: Sequence[Mapping[str, Any]] | None,
) -> list[str]:
    def mean(its: Sequence[Mapping[str, Any]] | None, *path: str) -> float | None:
        values = [_at(card, path) for card in its or ()]
        return fmean(values) if values and None not in values else None

    weights, bytes_ = ("pretraining", "parameters", "total"), ("pretraining", "size_bytes", "total")
    sampled, full = ("metrics", "test_sampled", "mrr@5"), ("metrics", "test", "mrr@5")
    ours, theirs = mean(cards, *weights), mean(reference, *weights)
    tuned = mean(cards, "parameters", "total")
    accuracy, best = mean(cards, *sampled), mean(reference, *sampled)
    return [
        entry,
        count(round(ours)) if ours else UNKNOWN,
        byte_count(mean(cards, *bytes_)),
        number(theirs / ours if ours and theirs else None, ".2f"),
        number(mean(cards, "pretraining", "seconds"), ",.0f"),
        number(mean(cards, "metrics", "test_sampled", "hit@5"), ".4f"),
        number(accuracy, ".4f"),
        _share(accuracy, best),
        number(mean(scratch, *sampled), ".4f"),
        number(mean(cards, "metrics", "test", "hit@5"), ".4f"),
        number(mean(cards, *full), ".4f"),
        _share(mean(cards, *full), mean(reference, *full)),
        number(mean(cards, "training", "seconds"), ",.0f"),
        count(round(tuned)) if tuned else UNKNOWN,
        str(len(cards)),
    ]


def _share(ours: float | None, theirs: float | None) -> str:
    return UNKNOWN if not ours or not theirs else f"{ours / theirs:.1%}"


def _at(card: Any, path: Sequence[str]) -> Any:
    for name in path:
        card = (card or {}).get(name)
    return card
