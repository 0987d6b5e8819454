"""The tables of the results page on quantization, from the file of ``benchmarks.quantization``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from benchmarks.fresh_process import ROOT
from benchmarks.generated_items import plot_name
from benchmarks.precq_paper import PAPER
from benchmarks.results_file import runs_in, source_line
from recbole_compress.reports.readable import UNKNOWN, byte_count, markdown, number

__all__ = [
    "TARGETS",
    "generated_items",
    "quantization_paper",
    "quantization_recipes",
    "quantization_rows",
    "quantization_summary",
]

FILE = ROOT / "docs" / "results" / "quantization.json"
GENERATED = ROOT / "docs" / "results" / "generated_items.json"
FULL = "none"
NDCG, SAMPLED = "ndcg@10", "sampled_ndcg@10"
# Share of full precision's NDCG@10 that is to be kept at these bits.
TARGETS = {8: 0.995, 4: 0.995, 2: 0.98}
# Recipes of a model that are worth a table: more than the cheapest and the default.
_SEVERAL = 3
# The paper's columns: what it calls them, and our recipe and start that are the counterpart.
COLUMNS = {
    "post-quantization": ("ptq", "teacher"),
    "noise": ("noise", "teacher"),
    "game, as published": ("precq_paper", "random"),
    "game, random start": ("adversarial", "random"),
    "game, our start": ("adversarial", "teacher"),
    "self_sample": ("self_sample", "teacher"),
    "real data": ("qat", "teacher"),
}


class Row(NamedTuple):
    """One way of quantizing one model: means over the seeds; None where memory ran out."""

    dataset: str
    model: str
    recipe: str
    start: str
    bits: int
    activation_bits: int
    settings: str
    result: dict[str, float] | None
    full: dict[str, float] | None

    @property
    def name(self) -> str:
        if self.recipe == FULL:
            return "full precision"
        return self.recipe + (", random start" if self.start == "random" else "")

    @property
    def agreement(self) -> float:
        """With full precision's ten best items; 0 where there is no result."""
        return (self.result or {}).get("agreement@10", 0.0)

    def kept(self, metric: str = NDCG) -> float | None:
        """The metric beside full precision's."""
        if not self.result or not self.full or not self.full[metric]:
            return None
        return self.result[metric] / self.full[metric]


def _or_how_to_measure(table: Callable[[Path], str]) -> Callable[..., str]:
    @wraps(table)
    def filled(file: Path = FILE) -> str:
        if not file.exists():
            return "Not measured yet: `python -m benchmarks.quantization ml-100k SASRec`."
        return table(file)

    return filled


@_or_how_to_measure
def quantization_summary(file: Path) -> str:
    """What every recipe keeps on the average over the models of a data set, beside the target."""
    header = ["data set", "recipe", "bits", "activations", "models"]
    header += ["kept on average", "least", "target"]
    header += ["on average", "models that reach it", "kept, of 101", "top-10 agreement", "s"]
    rows = [row for row in _rows(file) if row.recipe != FULL and row.kept() is not None]
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    names = list(dict.fromkeys(row.name for row in rows))
    groups: dict[tuple[int, int, int, int], list[Row]] = {}
    for row in rows:
        where = datasets.index(row.dataset), names.index(row.name)
        groups.setdefault((*where, -row.bits, -row.activation_bits), []).append(row)
    lines = [_summary(its) for _, its in sorted(groups.items())]
    parts = [markdown(header, lines, left=2), *_beside_the_game(rows), source_line(file)]
    return "\n\n".join(parts)


def _summary(rows: Sequence[Row]) -> list[str]:
    first, kept = rows[0], [row.kept() or 0.0 for row in rows]
    line = [first.dataset, first.name, str(first.bits), str(first.activation_bits), str(len(rows))]
    line += [_share(fmean(kept)), _share(min(kept))]
    target = TARGETS.get(first.bits)
    if target is None:
        line += [UNKNOWN] * 3
    else:
        reached = sum(share >= target for share in kept)
        line += [f">= {_share(target)}", "reached" if fmean(kept) >= target else "missed"]
        line.append(f"{reached} of {len(kept)}")
    line.append(_share(fmean(row.kept(SAMPLED) or 0.0 for row in rows)))
    results = [row.result or {} for row in rows]
    agreement, seconds = (fmean(r[key] for r in results) for key in ("agreement@10", "seconds"))
    return [*line, number(agreement, ".3f"), number(seconds, ",.0f")]


def _beside_the_game(rows: Sequence[Row]) -> list[str]:
    """In how many rows ``self_sample`` is ahead of the paper's game at the same bits, if any."""
    ours = {_where(row): row for row in rows if row.name == "self_sample"}
    pairs = [
        (ours[_where(row)], row)
        for row in rows
        if row.recipe == "adversarial" and _where(row) in ours
    ]
    ahead = sum((mine.kept() or 0.0) > (theirs.kept() or 0.0) for mine, theirs in pairs)
    agrees = sum(mine.agreement > theirs.agreement for mine, theirs in pairs)
    said = f"`self_sample` keeps more than `adversarial` in {ahead} of {len(pairs)} rows"
    said += f" and agrees more with full precision in {agrees}."
    return [said] if pairs else []


@_or_how_to_measure
def quantization_recipes(file: Path) -> str:
    """Recipes under each other and bits beside each other, where a model has seen several."""
    rows = [row for row in _rows(file) if row.recipe != FULL and row.activation_bits == 8]
    bits = sorted({row.bits for row in rows}, reverse=True)
    lines = []
    for where in dict.fromkeys((row.dataset, row.model) for row in rows):
        its = [row for row in rows if (row.dataset, row.model) == where]
        names = list(dict.fromkeys(row.name for row in its))
        if len(names) < _SEVERAL:
            continue
        for name in names:
            found = {row.bits: row for row in its if row.name == name}
            lines.append([*where, name, *(_kept_and_agreement(found.get(b)) for b in bits)])
    header = ["data set", "model", "recipe", *(f"{b} bits" for b in bits)]
    return "\n\n".join([markdown(header, lines, left=3), source_line(file)])


def _kept_and_agreement(row: Row | None) -> str:
    if row is None or not row.result:
        return UNKNOWN
    return f"{_share(row.kept())} ({number(row.agreement, '.2f')})"


@_or_how_to_measure
def quantization_paper(file: Path) -> str:
    """The paper's rows, and ours of the same model and bits under them."""
    measured = [row for row in _rows(file) if row.kept(SAMPLED) is not None]
    header = ["model", "bits", "numbers of", *COLUMNS]
    lines, compared = [], []
    for model, bits in dict.fromkeys((row.model, row.bits) for row in PAPER):
        best = 0.0
        for paper in PAPER:
            if (paper.model, paper.bits) == (model, bits):
                shares = [
                    None if value is None else value / paper.full
                    for value in (paper.post, paper.noise, paper.game, None, None, None, paper.real)
                ]
                best = max(best, paper.game / paper.full)
                lines.append([model, str(bits), f"paper, {paper.dataset}", *map(_share, shares)])
        ours: dict[tuple[str, int], dict[tuple[str, str], float | None]] = {}
        for row in measured:
            if (row.model, row.bits) == (model, bits) and row.recipe != FULL:
                there = ours.setdefault((row.dataset, row.activation_bits), {})
                there[row.recipe, row.start] = row.kept(SAMPLED)
        for (dataset, activation_bits), kept in ours.items():
            shares = [kept.get(way) for way in COLUMNS.values()]
            who = f"ours, {dataset}, activations {activation_bits}"
            lines.append([model, str(bits), who, *map(_share, shares)])
            mine = kept.get(COLUMNS["self_sample"])
            compared += [] if mine is None else [mine > best]
    ahead = (
        f"`self_sample` keeps more than the paper's game on the paper's best data set in "
        f"{sum(compared)} of {len(compared)} rows."
    )
    return "\n\n".join([markdown(header, lines, left=3), ahead, source_line(file)])


@_or_how_to_measure
def quantization_rows(file: Path) -> str:
    """Every row: accuracy, agreement, bytes, seconds; a table per data set."""
    header = ["model", "recipe", "bits", "activations", "NDCG@10", "Hit@10", "of full precision"]
    header += ["NDCG@10 of 101", "Hit@10 of 101", "top-10 agreement", "size", "x smaller", "s"]
    header += ["settings"]
    rows, parts = list(_rows(file)), []
    for dataset in dict.fromkeys(row.dataset for row in rows):
        its = [row for row in rows if row.dataset == dataset]
        models = list(dict.fromkeys(row.model for row in its))
        its.sort(key=lambda row: (models.index(row.model), row.recipe != FULL))
        parts += [f"### {dataset}", markdown(header, map(_cells, its), left=2)]
    return "\n\n".join([*parts, source_line(file)])


def _cells(row: Row) -> list[str]:
    what = [row.model, row.name, str(row.bits), str(row.activation_bits)]
    if row.result is None:
        return [*what, "out of memory", *[UNKNOWN] * 8, row.settings]
    found, full = row.result, row.full
    smaller = full["size_bytes"] / found["size_bytes"] if full else None
    return [
        *what,
        *(number(found[metric], ".4f") for metric in (NDCG, "hit@10")),
        _share(row.kept()),
        *(number(found[metric], ".4f") for metric in (SAMPLED, "sampled_hit@10")),
        number(found["agreement@10"], ".3f"),
        byte_count(found["size_bytes"]),
        number(smaller, ".1f"),
        number(found["seconds"] if row.recipe != FULL else None, ",.0f"),
        row.settings,
    ]


def _rows(file: Path) -> Iterator[Row]:
    """In the order of the file, seeds averaged, beside the full-precision models of those seeds."""
    runs = list(runs_in(file))
    full = {_trained(entry): result for entry, result in runs if entry["recipe"] == FULL}
    found: dict[tuple[Any, ...], list[tuple[dict[str, Any], dict[str, Any] | None]]] = {}
    for entry, result in runs:
        over = ", ".join(f"{key}={value}" for key, value in entry.get("quantize", {}).items())
        key = (*(entry[name] for name in Row._fields[:6]), over)
        found.setdefault(key, []).append((result, full.get(_trained(entry))))
    for key, pairs in found.items():
        results, of_full = zip(*pairs, strict=True)
        yield Row(*key, result=_mean(results), full=_mean([each for each in of_full if each]))


def _trained(entry: dict[str, Any]) -> tuple[Any, ...]:
    """Which full-precision model a row is about."""
    return entry["dataset"], entry["model"], entry.get("seed")


def _mean(results: Sequence[dict[str, Any]]) -> dict[str, float] | None:
    done = [result for result in results if "out_of_memory" not in result]
    if not done:
        return None
    measured = set.intersection(*(set(result) for result in done))
    return {name: fmean(result[name] for result in done) for name in sorted(measured)}


def _where(row: Row) -> tuple[str, str, int, int]:
    return row.dataset, row.model, row.bits, row.activation_bits


def _share(value: float | None) -> str:
    return number(value, ".1%")


def generated_items(file: Path = GENERATED) -> str:
    """How the items of made-up sequences rank beside the true popularity, and a plot for each."""
    if not file.exists():
        return "Not measured yet: `python -m benchmarks.generated_items DATASET/MODEL=CHECKPOINT`."
    rows, plots = [], []
    for entry, result in runs_in(file):
        name = entry["name"]
        if "real_head" in result:  # rows from before the games have less to say
            of_head = _share(result["real_head"])
            rows.append([name, "real", *[UNKNOWN] * 2, of_head, *[UNKNOWN] * 3])
        for way, found in result["ways"].items():
            played = result.get("played", {}).get(way, {})
            row = [name, way.replace("_", " "), number(found["spearman"], ".3f")]
            row += [_share(found.get(key)) for key in ("coverage", "head", "overlap")]
            row += [number(played.get("moved"), ".2%"), number(played.get("passes"), "d")]
            rows.append(row)
        plots.append(f"![{name}]({plot_name(name)})")
    header = ["checkpoint", "sequences", "rank correlation", "items that occur"]
    header += ["popular tenth", "in common", "moved", "passes"]
    return "\n\n".join([markdown(header, rows, left=2), *plots, source_line(file)])
