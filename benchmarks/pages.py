"""Puts the tables of the results pages in place, from the JSON files that they quote.

    python -m benchmarks.pages

A page in ``docs/results`` is written by hand but for what stands between ``<!-- table NAME -->``
and ``<!-- end -->``: that is made here, by the function of that name, from the JSON file of its
benchmark. A test sees that no page differs from its files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.fresh_process import ROOT
from benchmarks.quantization_tables import (
    generated_items,
    quantization_paper,
    quantization_recipes,
    quantization_rows,
    quantization_summary,
)
from benchmarks.results_file import runs_in, source_line
from benchmarks.shipping_tables import artifact_latency, artifact_sizes, shipping, shipping_stack
from benchmarks.transfer_table import GAMES, transfer
from recbole_compress.files import replacing
from recbole_compress.reports.readable import UNKNOWN, byte_count, count, markdown, number

__all__ = ["TABLES", "filled", "pages"]

RESULTS = ROOT / "docs" / "results"
PLACE = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    """The pages that have tables to fill."""
    return [path for path in sorted(RESULTS.glob("*.md")) if PLACE.search(path.read_text())]


def filled(page: str) -> str:
    """A page's text with its tables made anew.

    Raises:
        KeyError: A name that is no table.
    """
    return PLACE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", page)


def _runs(name: str, **wanted: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    return runs_in(RESULTS / f"{name}.json", **wanted)


def _source(name: str) -> str:
    return source_line(RESULTS / f"{name}.json")


# -- training speed --------------------------------------------------------------------------


def epochs() -> str:
    variants = ("as_shipped", "anomaly_off", "untied", "tied", "cprec")
    header = ["data set", "backbone", "RecBole, as shipped", "RecBole, anomaly mode off"]
    header += ["untied", "tied", "CpRec", "as shipped / untied", "as shipped / CpRec"]
    found: dict[tuple[str, str], dict[str, float]] = {}
    for entry, result in _runs("training_speed", compare="epochs"):
        times = found.setdefault((entry["dataset"], entry["backbone"]), {})
        times[entry["variant"]] = result.get("seconds_per_epoch")
    rows = []
    for names, times in found.items():
        row = [*names, *(_seconds(times.get(variant)) for variant in variants)]
        shipped = times.get("as_shipped")
        for ours in ("untied", "cprec"):
            whole = shipped and times.get(ours)
            row.append(f"{shipped / times[ours]:.1f}x" if whole else UNKNOWN)
        rows.append(row)
    return markdown(header, rows, left=2) + "\n\n" + _source("training_speed")


def _seconds(value: float | None) -> str:
    return number(value, ",.0f" if value and value >= 99.5 else ".3g")


def phases() -> str:
    rows, header = [], ["data set", "model", "step ms"]
    for entry, result in _runs("training_speed", compare="phases"):
        shares = {name.replace("_", " "): share for name, share in result["share"].items()}
        header = [*header[:3], *shares]
        row = [entry["dataset"], entry["variant"], number(result["median_step_ms"], ".1f")]
        rows.append([*row, *(f"{share:.0%}" for share in shares.values())])
    return markdown(header, rows, left=2)


def equal_time() -> str:
    header = ["model", "training s", "epochs", "NDCG@10 valid", "NDCG@10 test"]
    rows = [
        [
            entry["variant"].replace("_", " "),
            number(result["train_seconds"], ".0f"),
            count(result["epochs"]),
            number(result["valid_ndcg@10"], ".4f"),
            number(result["test_ndcg@10"], ".4f"),
        ]
        for entry, result in _runs("training_speed", compare="equal_time")
    ]
    return markdown(header, rows)


def precision() -> str:
    """Steps with exact products and with rounded ones."""
    header = ["item table", "products", "step ms", "of exact", "processor ms", "of exact"]
    rows, exact = [], {}
    for entry, result in _runs("training_precision"):
        ms = [result["step_ms"], result["step_cpu_ms"]]
        of = exact.setdefault(entry["table"], ms)
        cells = [(number(m, ".0f"), f"{m / o:.0%}") for m, o in zip(ms, of, strict=True)]
        name = entry["table"].replace("_", "-")
        rows.append([name, entry["precision"], *cells[0], *cells[1]])
    return markdown(header, rows, left=2) + "\n\n" + _source("training_precision")


# -- scale -----------------------------------------------------------------------------------


def growth() -> str:
    header = ["items", "head", "parameters", "step ms", "peak memory", "request ms", "exact top 10"]
    rows = []
    for entry, result in _runs("catalogue_growth"):
        row = [count(entry["n_items"]), entry["head"]]
        if "out_of_memory" in result:
            rows.append([*row, *[UNKNOWN] * 2, "out of memory", *[UNKNOWN] * 2])
            continue
        row += [byte_count(result["parameter_bytes"]), number(result["step_ms"], ",.0f")]
        row += [byte_count(result["peak_rss_bytes"]), number(result["request_ms"]["p50"], ".3g")]
        rows.append([*row, "yes" if result["topk_is_exact"] else "no"])
    return markdown(header, rows, left=2) + "\n\n" + _source("catalogue_growth")


def evaluation() -> str:
    header = ["items", "rows", "path", "seconds", "peak memory"]
    rows = []
    for entry, result in _runs("evaluation"):
        row = [count(entry["n_items"]), count(entry["n_users"]), entry["path"].replace("_", " ")]
        if "out_of_memory" in result:
            rows.append([*row, UNKNOWN, "out of memory"])
        else:
            seconds = number(result["seconds"], ".1f")
            rows.append([*row, seconds, byte_count(result["peak_rss_bytes"])])
    return markdown(header, rows, left=3) + "\n\n" + _source("evaluation")


# -- tensor trains ---------------------------------------------------------------------------


def tensor_train_scoring() -> str:
    """Per table and batch: the dense product, and the ways to do without its table."""
    header = ["catalogue", "table", "smaller", "rows", "dense", "core by core", "best grouping"]
    header += ["table built", "table kept", "chosen", "chosen, table kept"]
    rows = []
    for entry, result in _runs("tensor_train", compare="scoring"):
        for batch, measured in result["batches"].items():
            ms = measured["ms"]
            plans = {name: time for name, time in ms.items() if name not in ("dense", "table kept")}
            by_core = next(name for name in plans if set(name) <= {"1", "+"})
            built = next((name for name in plans if "+" not in name), None)
            between = {name: plans[name] for name in plans if name not in (by_core, built)}
            best = min(between, key=lambda name: between[name], default=None)
            rows.append(
                [
                    entry["catalogue"],
                    entry["table"],
                    f"{result['compression']:.1f}x",
                    count(int(batch)),
                    number(ms["dense"], ",.3g"),
                    number(plans[by_core], ",.3g"),
                    UNKNOWN if best is None else f"{number(between[best], ',.3g')} ({best})",
                    UNKNOWN if built is None else number(plans[built], ",.3g"),
                    number(ms["table kept"], ",.3g"),
                    measured["chosen"],
                    measured["chosen_with_table"],
                ]
            )
    return markdown(header, rows, left=2) + "\n\n" + _source("tensor_train")


def tensor_train_lookup() -> str:
    header = ["catalogue", "table", "sequences of 50", "distinct items", "dense ms", "ms"]
    rows = []
    for entry, result in _runs("tensor_train", compare="lookup"):
        for sequences, measured in result["sequences"].items():
            ms = measured["ms"]
            row = [entry["catalogue"], entry["table"], count(int(sequences))]
            row += [count(measured["distinct"]), number(ms["dense"], ",.3g")]
            rows.append([*row, number(ms["tensor train"], ",.3g")])
    return markdown(header, rows, left=2)


def tensor_train_steps() -> str:
    header = ["catalogue", "table", "targets", "dense ms", "ms", "of dense", "peak memory"]
    rows = []
    for entry, result in _runs("tensor_train", compare="step"):
        for targets, measured in result["targets"].items():
            ms = measured["ms"]
            row = [entry["catalogue"], entry["table"], count(int(targets))]
            row += [number(ms["dense"], ",.0f"), number(ms["tensor train"], ",.0f")]
            row += [f"{measured['ratio']:.2f}", byte_count(result["rss_bytes_trained"])]
            rows.append(row)
    return markdown(header, rows, left=2)


TABLES: dict[str, Callable[[], str]] = {
    "epochs": epochs,
    "phases": phases,
    "equal_time": equal_time,
    "precision": precision,
    "growth": growth,
    "evaluation": evaluation,
    "transfer": transfer,
    "transfer_games": lambda: transfer(GAMES),
    "quantization_summary": quantization_summary,
    "quantization_paper": quantization_paper,
    "quantization_recipes": quantization_recipes,
    "quantization_rows": quantization_rows,
    "generated_items": generated_items,
    "tensor_train_scoring": tensor_train_scoring,
    "tensor_train_lookup": tensor_train_lookup,
    "tensor_train_steps": tensor_train_steps,
    "artifact_sizes": artifact_sizes,
    "artifact_latency": artifact_latency,
    "shipping": shipping,
    "shipping_stack": shipping_stack,
}


def main() -> None:
    for path in pages():
        with replacing(str(path)) as file:
            file.write(filled(path.read_text()))
        print(path)


if __name__ == "__main__":
    main()
