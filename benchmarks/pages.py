"""Puts the tables of the results pages in place, from the JSON files that they quote.

    python -m benchmarks.pages

The README and the pages in ``docs/results`` are written by hand but for what stands between
``<!-- table NAME -->`` and ``<!-- end -->``: that is made here, by the function of that name, from
the JSON file of its benchmark. A test sees that no page differs from its files.
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
from benchmarks.rows_of_pages import CHOSEN
from benchmarks.shipping_tables import artifact_latency, artifact_sizes, shipping, shipping_stack
from benchmarks.tensor_train_tables import (
    tensor_train_lookup,
    tensor_train_scoring,
    tensor_train_steps,
)
from benchmarks.transfer_table import GAMES, transfer
from recbole_compress.files import replacing
from recbole_compress.reports.readable import UNKNOWN, byte_count, count, markdown, number

__all__ = ["TABLES", "filled", "pages"]

RESULTS = ROOT / "docs" / "results"
PLACE = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    """The pages that have tables to fill."""
    written = [ROOT / "README.md", *sorted(RESULTS.glob("*.md"))]
    return [path for path in written if PLACE.search(path.read_text())]


def filled(page: str) -> str:
    """A page's text with its tables made anew.

    Raises:
        KeyError: A name that is no table.
    """
    return PLACE.sub(_filled, page)


def _filled(place: re.Match[str]) -> str:
    try:
        return f"{place[1]}\n{TABLES[place[2]]()}\n\n{place[3]}"
    except FileNotFoundError:  # not measured yet
        return place[0]


def _runs(name: str, **wanted: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    return runs_in(RESULTS / f"{name}.json", **wanted)


def _source(name: str) -> str:
    return source_line(RESULTS / f"{name}.json")


# -- training speed --------------------------------------------------------------------------


VARIANTS = {
    "as_shipped": "RecBole, as shipped",
    "anomaly_off": "RecBole, anomaly mode off",
    "untied": "untied",
    "tied": "tied",
    "cprec": "CpRec",
}


def _by_variant(name: str, key: str) -> dict[tuple[str, str], dict[str, Any]]:
    """One value of every epoch's result, by data set and backbone, then by variant."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for entry, result in _runs(name, compare="epochs"):
        values = found.setdefault((entry["dataset"], entry["backbone"]), {})
        values[entry["variant"]] = result.get(key)
    return found


def epochs(name: str = "training_speed") -> str:
    header = ["data set", "backbone", *VARIANTS.values()]
    header += ["as shipped / untied", "as shipped / CpRec"]
    rows = []
    for names, times in _by_variant(name, "seconds_per_epoch").items():
        row = [*names, *(_seconds(times.get(variant)) for variant in VARIANTS)]
        shipped = times.get("as_shipped")
        for ours in ("untied", "cprec"):
            whole = shipped and times.get(ours)
            row.append(f"{shipped / times[ours]:.1f}x" if whole else UNKNOWN)
        rows.append(row)
    return markdown(header, rows, left=2) + "\n\n" + _source(name)


def gpu_memory() -> str:
    """The most that is held on the GPU at once."""
    rows = [
        [*names, *(byte_count(peaks.get(variant)) for variant in VARIANTS)]
        for names, peaks in _by_variant("training_speed_gpu", "peak_gpu_bytes").items()
    ]
    return markdown(["data set", "backbone", *VARIANTS.values()], rows, left=2)


def short_floats() -> str:
    """Epochs of ours on a GPU as they ship, with bfloat16, and with larger batches besides."""
    settings = {"": "float32", ", bf16": "bf16", ", bf16, 8x batch": "bf16, 8x batch"}
    header = ["data set", "backbone", "model", *settings.values()]
    header += [f"memory, {name}" for name in settings.values()]
    times = _by_variant("training_speed_gpu", "seconds_per_epoch")
    peaks = _by_variant("training_speed_gpu", "peak_gpu_bytes")
    rows = []
    for names, by_variant in times.items():
        for model in ("untied", "cprec"):
            if f"{model}, bf16" not in by_variant:
                continue
            row = [*names, VARIANTS[model]]
            row += [_seconds(by_variant.get(model + more)) for more in settings]
            rows.append([*row, *(byte_count(peaks[names].get(model + more)) for more in settings)])
    return markdown(header, rows, left=3)


def _seconds(value: float | None) -> str:
    return number(value, ",.0f" if value and value >= 99.5 else ".3g")


def phases(name: str = "training_speed") -> str:
    rows, header = [], ["data set", "model", "step ms"]
    for entry, result in _runs(name, compare="phases"):
        shares = {phase.replace("_", " "): share for phase, share in result["share"].items()}
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


def soft_targets() -> str:
    """Learning a teacher's distribution, block by block and by the scores of all items."""
    times = ["by scores, ms", "by blocks, ms", "faster", "cross-entropy, ms"]
    header = ["tails narrower by", "pointer", *times]
    rows = []
    for entry, result in _runs("soft_targets"):
        ms = [result[f"{way}_cpu_ms"] for way in ("by_scores", "by_blocks", "cross_entropy")]
        faster = f"{ms[0] / ms[1]:.1f}x"
        pointer = "yes" if entry.get("repeats") == "pointer" else "no"
        rows.append([entry["narrowing"], pointer, *(number(m, ".0f") for m in ms[:2]), faster])
        rows[-1].append(number(ms[2], ".0f"))
    return markdown(header, rows, left=2) + "\n\n" + _source("soft_targets")


def loss_by_factors() -> str:
    """The loss over all items by factors, and by the table that they stand for."""
    times = ["dense table, ms", "table built, ms", "factors, ms", "faster"]
    rows = []
    for entry, result in _runs("loss_by_factors"):
        ms = [result[f"{way}_cpu_ms"] for way in ("dense", "by_table", "by_factors")]
        name, numbers = entry["table"].replace("_", "-"), count(result["numbers"])
        rows.append([name, count(entry["n_items"]), numbers, *(number(m, ".0f") for m in ms)])
        rows[-1].append(f"{ms[1] / ms[2]:.1f}x")
    header = ["table", "items", "numbers", *times]
    return markdown(header, rows) + "\n\n" + _source("loss_by_factors")


# -- scale -----------------------------------------------------------------------------------


def growth(name: str = "catalogue_growth") -> str:
    header = ["items", "head", "parameters", "step ms", "peak memory", "request ms", "exact top 10"]
    rows = []
    for entry, result in _runs(name):
        row = [count(entry["n_items"]), entry["head"]]
        if "out_of_memory" in result:
            rows.append([*row, *[UNKNOWN] * 2, "out of memory", *[UNKNOWN] * 2])
            continue
        row += [byte_count(result["parameter_bytes"]), _step(result["step_ms"])]
        peak = result.get("peak_gpu_bytes") or result["peak_rss_bytes"]
        row += [byte_count(peak), number(result["request_ms"]["p50"], ".3g")]
        rows.append([*row, "yes" if result["topk_is_exact"] else "no"])
    return markdown(header, rows, left=2) + "\n\n" + _source(name)


def _step(ms: float) -> str:
    return number(ms, ",.0f" if ms >= 10 else ".2g")


def request_memory() -> str:
    """What requests add to a process that has its model, and top 5 beside top 10."""
    header = ["items", "head", "model", "requests add", "of that kept", "process, at most"]
    header += ["top 5, of the time of top 10"]
    rows, libraries = [], []
    for entry, result in _runs("request_memory"):
        held, ms = result["rss_bytes"], result["cpu_ms"]
        row = [count(entry["n_items"]), entry["head"], byte_count(result["parameter_bytes"])]
        row += [byte_count(held[when] - held["loaded"]) for when in ("peak", "after")]
        rows.append([*row, byte_count(held["peak"]), f"{ms['top 5'] / ms['top 10']:.2f}"])
        libraries.append(result["baseline_rss_bytes"])
    said = f"Python, torch and RecBole alone hold {byte_count(max(libraries))}."
    return "\n\n".join([markdown(header, rows, left=2), said, _source("request_memory")])


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


# -- tables that stand for a trained one, bits ------------------------------------------------


def table_fit() -> str:
    """What is left of a trained table in the closest one of another form, nothing trained."""
    header = ["data set", "table", "numbers", "error", "test", "again", "new"]
    rows = []
    for entry, result in _runs("table_fit"):
        dense = entry["form"] == "dense"
        trained = f"{result.get('trained_as', 'dense')}, as trained"
        name = trained if dense else f"{entry['form']}, 1/{entry['times']}"
        row = [entry["dataset"], name, count(result["numbers"])]
        row += [UNKNOWN if dense else f"{result['relative_error']:.0%}"]
        groups = (f"ndcg@10{group}" for group in ("", "_again", "_new"))
        rows.append([*row, *(number(result.get(group), ".4f") for group in groups)])
    return markdown(header, rows, left=2) + "\n\n" + _source("table_fit")


def bit_budget() -> str:
    """The same bits for all tensors beside bits chosen for a file of that size."""
    header = ["model", "recipe", "file", "bits for all", "test", "of full precision"]
    header += ["bits chosen", "test", "of full precision", "s more"]
    rows = []
    for entry, result in _runs("bit_budget"):
        full, same, chosen = (result[name] for name in ("full", "same", "chosen"))
        bits = sorted(set(chosen["bits"].values()))
        row = [entry["model"], entry["recipe"], byte_count(same["file_bytes"]), str(entry["bits"])]
        row += [number(same["test"], ".4f"), f"{same['test'] / full['test']:.1%}"]
        row += [f"{bits[0]} to {bits[-1]}" if len(bits) > 1 else str(bits[0])]
        row += [number(chosen["test"], ".4f"), f"{chosen['test'] / full['test']:.1%}"]
        rows.append([*row, f"{chosen['seconds'] - same['seconds']:.0f}"])
    return markdown(header, rows, left=2) + "\n\n" + _source("bit_budget")


TABLES: dict[str, Callable[[], str]] = {
    "epochs": epochs,
    "epochs_gpu": lambda: epochs("training_speed_gpu"),
    "gpu_memory": gpu_memory,
    "short_floats": short_floats,
    "phases": phases,
    "phases_gpu": lambda: phases("training_speed_gpu"),
    "equal_time": equal_time,
    "precision": precision,
    "soft_targets": soft_targets,
    "loss_by_factors": loss_by_factors,
    "growth": growth,
    "growth_gpu": lambda: growth("catalogue_growth_gpu"),
    "request_memory": request_memory,
    "evaluation": evaluation,
    "transfer": transfer,
    "transfer_games": lambda: transfer(GAMES),
    "quantization_summary": quantization_summary,
    "quantization_paper": quantization_paper,
    "quantization_recipes": quantization_recipes,
    "quantization_rows": quantization_rows,
    "quantization_summary_gpu": lambda: quantization_summary(RESULTS / "quantization_gpu.json"),
    "quantization_rows_gpu": lambda: quantization_rows(RESULTS / "quantization_gpu.json"),
    "generated_items": generated_items,
    "tensor_train_scoring": tensor_train_scoring,
    "table_fit": table_fit,
    "bit_budget": bit_budget,
    "tensor_train_lookup": tensor_train_lookup,
    "tensor_train_steps": tensor_train_steps,
    "artifact_sizes": artifact_sizes,
    "artifact_latency": artifact_latency,
    "shipping": shipping,
    "shipping_stack": shipping_stack,
    **CHOSEN,
}


def main() -> None:
    for path in pages():
        with replacing(str(path)) as file:
            file.write(filled(path.read_text()))
        print(path)


if __name__ == "__main__":
    main()
