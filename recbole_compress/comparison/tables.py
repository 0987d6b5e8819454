"""A comparison as tables: how good, how big, how fast; Markdown for people, CSV for programs."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from recbole_compress.comparison.row_groups import NOVELTY, POPULARITY
from recbole_compress.reports.readable import UNKNOWN, byte_count, count, counted, markdown, number
from recbole_compress.reports.table import chosen

__all__ = ["csv_table", "markdown_page", "median_latency", "metric_name"]

HOW_TO_READ = """\
How to read it: all numbers are of the test split unless they say valid, and stand as mean ±
standard deviation where there are several seeds. *Difference* is the relative difference of
{metric} from the reference, paired user by user (the mean over a user's rows, then over seeds),
with its 95 % bootstrap interval; *p* is that of the paired t-test. *Head*, *torso* and *tail* are
{metric} of the rows whose target is such an item: items ordered by how often the train split
shows them, cut so that each group holds a third of the train interactions (items of equal
frequency stay together); *unseen* ones it never shows. *Again* are the rows whose target the
sequence holds already, *new* the others. *x* says how many times smaller a model is than the
reference, *own untied* and *own tied* how many times smaller than its uncompressed counterpart of
its own width with two item tables or one.{latency}"""

LATENCY = """ *p50* is the median time from an item
sequence to its top items, one request at a time{turns}."""


def markdown_page(document: Mapping[str, Any]) -> str:
    """Two tables per data set, accuracy and cost, with what one needs to read them."""
    experiment = document["experiment"]
    parts = [f"# {experiment['name']}"]
    if experiment["about"]:
        parts.append(experiment["about"])
    for name, dataset in document["datasets"].items():
        parts += [f"## {name}", *_dataset_parts(document, name, dataset)]
    first = next((d for d in document["datasets"].values() if d["entries"]), None)
    if first is not None:
        parts.append(_how_to_read(document, metric_name(first["metric"])))
    parts.append(_made_with(document))
    return "\n\n".join(parts) + "\n"


def _how_to_read(document: Mapping[str, Any], metric: str) -> str:
    entries = [
        entry for dataset in document["datasets"].values() for entry in dataset["entries"].values()
    ]
    latency = ""
    if any(median_latency(entry) is not None for entry in entries):
        in_turns = any(entry["latency_in_turns_ms"] for entry in entries)
        turns = ", all models taking turns in one process" if in_turns else ""
        latency = LATENCY.format(turns=turns)
    return HOW_TO_READ.format(metric=metric, latency=latency)


def _made_with(document: Mapping[str, Any]) -> str:
    """What the runs took place on, which may be several machines, and what made the tables."""
    made = document["provenance"]
    places = Counter(
        f"torch {place['torch']}, RecBole {place['recbole']}, Python {place['python']} on "
        f"{place.get('gpu') or place['cpu']}"
        for place in (run["card"]["environment"] for run in document["runs"])
    )
    known = "; ".join(
        place if len(places) == 1 else f"{counted(n, 'run')}: {place}"
        for place, n in places.most_common()
    )
    return (
        f"Made with {known or 'nothing yet'}. Tables of commit {_commit(made['commit'])}; every "
        "card, with its own commit, is in `comparison.json`."
    )


def csv_table(document: Mapping[str, Any]) -> str:
    """One line per data set and entry, every number at full precision."""
    lines = [
        _flat(document, name, entry, values)
        for name, dataset in document["datasets"].items()
        for entry, values in dataset["entries"].items()
    ]
    columns = list(dict.fromkeys(column for line in lines for column in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or ["dataset", "entry"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _dataset_parts(document: Mapping[str, Any], name: str, dataset: Mapping[str, Any]) -> list[str]:
    missing = [each for each in document["missing"] if each["dataset"] == name]
    parts = []
    if dataset["entries"]:
        parts += [_about_rows(dataset), _accuracy(dataset), _cost(dataset)]
    if missing:
        parts.append("Missing:\n\n" + "\n".join(_missing(missing)))
    return parts


def _missing(missing: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for every entry and reason, with the seeds that it holds for."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for each in missing:
        seeds.setdefault((each["entry"], each["reason"]), []).append(str(each["seed"]))
    return [
        f"- {entry}, seed{'s' if len(its) > 1 else ''} {', '.join(its)}: {reason}"
        for (entry, reason), its in seeds.items()
    ]


def _about_rows(dataset: Mapping[str, Any]) -> str:
    seeds = sorted({seed for entry in dataset["entries"].values() for seed in entry["seeds"]})
    items = next(iter(dataset["entries"].values()))["n_items"]
    parts = [f"{count(items)} items", f"seeds {', '.join(map(str, seeds))}"]
    if dataset["test_rows"] is not None:
        parts.insert(1, f"{count(dataset['test_rows'])} test rows")
        if dataset["test_users"] != dataset["test_rows"]:
            parts.insert(2, f"of {count(dataset['test_users'])} users")
        shares = _shares(dataset)
        groups = [
            f"{group} {count(n)}{shares.get(group, '')}"
            for group, n in dataset["items_in_group"].items()
            if group in _groups(dataset)
        ]
        parts.append(f"items in {', '.join(groups)}")
        if again := _share(dataset, "novelty", "again"):
            parts.append(f"{again:.0%} of the targets are in the sequence already")
    return "; ".join(parts) + "."


def _shares(dataset: Mapping[str, Any]) -> dict[str, str]:
    """Nothing where no metric shown can be told from ranks, and so none by popularity."""
    entries = (entry["popularity"] for entry in dataset["entries"].values())
    popularity: Mapping[str, Any] = next((each for each in entries if each), {})
    return {
        group: f" ({values['share_of_rows']:.0%} of the rows)"
        for group, values in popularity.items()
        if group in _groups(dataset)
    }


def _groups(dataset: Mapping[str, Any]) -> list[str]:
    """The groups of rows that are shown: some only where there are such rows."""
    shown = [name for name in POPULARITY if name != "unseen" or _share(dataset, "popularity", name)]
    return shown + (list(NOVELTY) if _share(dataset, "novelty", "again") else [])


def _share(dataset: Mapping[str, Any], kind: str, group: str) -> float:
    """Of the rows; 0 where no entry says so."""
    shares = [
        (entry.get(kind) or {}).get(group, {}).get("share_of_rows", 0.0)
        for entry in dataset["entries"].values()
    ]
    return max(shares, default=0.0)


def _accuracy(dataset: Mapping[str, Any]) -> str:
    metric, shown = dataset["metric"], dataset["shown"]
    reference = dataset["reference"]
    header = ["run", f"{metric_name(metric)} valid", *map(metric_name, shown)]
    if reference is not None:
        header += [f"difference from {reference}", "p"]
    header += _groups(dataset)
    rows = []
    for name, entry in dataset["entries"].items():
        row = [name, _spread((entry["metrics"]["valid"] or {}).get(metric))]
        row += [_spread((entry["metrics"]["test"] or {}).get(each)) for each in shown]
        if reference is not None:
            difference = (entry["against_reference"] or {}).get(metric)
            without = entry.get("not_compared", UNKNOWN)  # older files say nothing of it
            row += _difference(difference, name == reference, without)
        groups = {**(entry["popularity"] or {}), **(entry.get("novelty") or {})}
        row += [number((groups.get(group) or {}).get(metric), ".4f") for group in _groups(dataset)]
        rows.append(row)
    return markdown(header, rows)


def _cost(dataset: Mapping[str, Any]) -> str:
    reference = dataset["reference"]
    by_reference = dataset["entries"].get(reference)
    header = ["run", "item embedding / backbone / sharing / head", "parameters", "size"]
    header += [f"x {reference}"] if by_reference else []
    header += ["own untied", "own tied"]
    header += ["epochs", "training s", "s/epoch", "peak memory", "on the GPU", "p50 ms"]
    rows = []
    for name, entry in dataset["entries"].items():
        ratio, training = entry["compression_ratio"], entry["training"]
        rows.append(
            [
                name,
                chosen(entry["choices"]),
                count(entry["parameters"]["total"]),
                byte_count(_bytes(entry)),
                *([_times_smaller(entry, by_reference)] if by_reference else []),
                number(ratio["untied"], ".2f"),
                number(ratio["tied"], ".2f"),
                number(training["epochs"]["mean"], ".0f"),
                number(training["seconds"]["mean"], ",.0f"),
                number(training["seconds_per_epoch"]["mean"], ".3g"),
                byte_count(training["peak_rss_bytes"]["mean"]),
                byte_count((training.get("peak_gpu_bytes") or {}).get("mean")),
                number(median_latency(entry), ".3g"),
            ]
        )
    return markdown(*_without_unknown(header, rows, ("on the GPU", "p50 ms")), left=2)


def _without_unknown(
    header: list[str], rows: list[list[str]], optional: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Without those of the optional columns that hold nothing."""
    kept = [
        i
        for i, name in enumerate(header)
        if name not in optional or any(row[i] != UNKNOWN for row in rows)
    ]
    return [header[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _bytes(entry: Mapping[str, Any]) -> int | None:
    return entry["size_bytes"]["file"] or entry["size_bytes"]["total"]


def _times_smaller(entry: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    ours, theirs = _bytes(entry), _bytes(reference)
    return number(theirs / ours, ".2f") if ours and theirs else UNKNOWN


def median_latency(entry: Mapping[str, Any]) -> float | None:
    """Milliseconds; those measured in turns where there are any."""
    return (entry["latency_in_turns_ms"] or entry["latency_ms"])["p50"]


def _commit(commit: str | None) -> str:
    if commit is None:
        return "unknown"
    return f"`{commit[:10]}{'-dirty' if commit.endswith('-dirty') else ''}`"


def metric_name(name: str) -> str:
    """``ndcg@10`` -> ``NDCG@10``, ``hit@10`` -> ``Hit@10``."""
    metric, at, k = name.partition("@")
    return (metric.upper() if metric in ("ndcg", "mrr", "map", "auc") else metric.title()) + at + k


def _spread(value: Mapping[str, Any] | None) -> str:
    if value is None or value["mean"] is None:
        return UNKNOWN
    spread = "" if value["std"] is None else f" ± {value['std']:.4f}"
    return f"{value['mean']:.4f}{spread}"


def _difference(
    difference: Mapping[str, Any] | None, is_reference: bool, without: str = UNKNOWN
) -> list[str]:
    if is_reference:
        return ["reference", ""]
    if difference is None or difference["relative"] is None:
        return [without, UNKNOWN]
    text = f"{difference['relative']:+.1%}"
    if difference["low"] is not None:
        text += f" ({difference['low']:+.1%} to {difference['high']:+.1%})"
    p = difference["p_value"]
    return [text, UNKNOWN if p is None else ("< 0.001" if p < 0.001 else f"{p:.3f}")]


def _flat(
    document: Mapping[str, Any], dataset: str, entry: str, values: Mapping[str, Any]
) -> dict[str, Any]:
    line: dict[str, Any] = {
        "dataset": dataset,
        "entry": entry,
        "model": values["model"],
        "seeds": " ".join(map(str, values["seeds"])),
    }
    for split, metrics in values["metrics"].items():
        for name, value in metrics.items():
            line[f"{split}_{name}_mean"] = value["mean"]
            line[f"{split}_{name}_std"] = value["std"]
    for name, difference in (values["against_reference"] or {}).items():
        for part in ("relative", "low", "high", "p_value"):
            line[f"{name}_difference_{part}"] = difference[part]
    groups = {**(values["popularity"] or {}), **(values.get("novelty") or {})}
    for group, metrics in groups.items():
        line |= {f"{group}_{name}": value for name, value in metrics.items()}
    line |= {f"parameters_{part}": n for part, n in values["parameters"].items()}
    line |= {f"bytes_{part}": n for part, n in values["size_bytes"].items()}
    line |= {f"times_smaller_than_{head}": n for head, n in values["compression_ratio"].items()}
    line |= {f"training_{name}": value["mean"] for name, value in values["training"].items()}
    line["latency_p50_ms"] = median_latency(values)
    return line
