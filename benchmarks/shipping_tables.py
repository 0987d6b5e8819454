"""The tables of what exported files weigh, cost and say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.fresh_process import ROOT
from benchmarks.results_file import runs_in, source_line
from recbole_compress.reports.readable import UNKNOWN, byte_count, count, markdown, number

__all__ = ["artifact_latency", "artifact_sizes", "shipping", "shipping_stack"]

ARTIFACTS = ROOT / "docs" / "results" / "artifacts.json"
SHIPPING = ROOT / "docs" / "results" / "shipping.json"
TORCH, PUBLIC = "torch_fp32", "public_4_bit"
FULL = 32
# What the first checkpoint of a data set is called, where the others were made to replace it.
ORIGINALS = ("teacher", "untied")

Result = dict[str, Any]


def _missing(module: str) -> str:
    return f"Not measured yet: `python -m benchmarks.{module}`."


def _times(ours: float | None, theirs: float | None) -> str:
    """How many times larger theirs is."""
    if not ours or not theirs:
        return UNKNOWN
    ratio = theirs / ours
    return f"{ratio:,.0f}x" if ratio >= 99.5 else f"{ratio:.3g}x"


# -- size and speed ----------------------------------------------------------------------------


def _by_catalogue(file: Path) -> dict[tuple[int, int], dict[str, Result]]:
    """Results by (items, width), then by variant."""
    found: dict[tuple[int, int], dict[str, Result]] = {}
    for entry, result in runs_in(file):
        found.setdefault((entry["items"], entry["dim"]), {})[entry["variant"]] = result
    return dict(sorted(found.items()))


def artifact_sizes(file: Path = ARTIFACTS) -> str:
    """Per catalogue and variant: bytes on the disk and in memory."""
    if not file.exists():
        return _missing("artifacts")
    header = ["items", "width", "variant", "on disk", "smaller than torch", "than public 4-bit"]
    header += ["in memory", "less than torch", "largest deviation"]
    rows = []
    for (items, dim), results in _by_catalogue(file).items():
        torch, public = results.get(TORCH, {}), results.get(PUBLIC, {})
        for variant, result in results.items():
            row = [count(items), str(dim), variant.replace("_", " ")]
            if "out_of_memory" in result:
                rows.append([*row, "out of memory", *[UNKNOWN] * 5])
                continue
            size, resident = result["size_bytes"], result.get("resident_bytes")
            row += [byte_count(size), _times(size, torch.get("size_bytes"))]
            row += [_times(size, public.get("size_bytes")), byte_count(resident)]
            row += [_times(resident, torch.get("resident_bytes"))]
            rows.append([*row, number(result.get("deviation"), ".1e")])
    return markdown(header, rows, left=3) + "\n\n" + source_line(file)


def artifact_latency(file: Path = ARTIFACTS) -> str:
    """Per catalogue and variant: milliseconds per request and per batch of 32."""
    if not file.exists():
        return _missing("artifacts")
    header = ["items", "width", "variant"]
    for batch in (1, 32):
        header += [f"p50 ms, batch {batch}", "p95 ms", "faster than torch", "than public 4-bit"]
    rows = []
    for (items, dim), results in _by_catalogue(file).items():
        for variant, result in results.items():
            row = [count(items), str(dim), variant.replace("_", " ")]
            for batch in (1, 32):
                ms = _latency(result, batch)
                row += [number(ms.get(each), ",.3g") for each in ("p50", "p95")]
                for other in (TORCH, PUBLIC):
                    theirs = _latency(results.get(other, {}), batch)
                    row.append(_times(ms.get("p50"), theirs.get("p50")))
            rows.append(row)
    return markdown(header, rows, left=3)


def _latency(result: Result, batch: int) -> dict[str, float]:
    measured = result.get("latency_ms", [])
    return next((each for each in measured if each["batch_size"] == batch), {})


# -- accuracy ----------------------------------------------------------------------------------


def _form(entry: dict[str, Any]) -> str:
    if entry["format"] == "checkpoint":
        return "torch, fp32"
    if entry["bits"] == FULL:
        return "file, fp32"
    told = [entry["recipe"].replace("_", " ")]
    told += [f"`{key}={value}`" for key, value in entry["quantization"].items()]
    return f"file, {entry['bits']} bits ({', '.join(told)})"


def _label(entry: dict[str, Any]) -> str:
    return entry["name"] + (", history left out" if entry["exclude_history"] else "")


def _by_checkpoint(file: Path) -> dict[str, list[tuple[dict[str, Any], Result]]]:
    """Rows by checkpoint (and whether the history is left out), the checkpoint itself first."""
    found: dict[str, list[tuple[dict[str, Any], Result]]] = {}
    for entry, result in runs_in(file):
        found.setdefault(_label(entry), []).append((entry, result))
    for rows in found.values():
        rows.sort(key=lambda row: (row[0]["format"], -row[0]["bits"], row[0]["recipe"] or ""))
    return found


def _share(ours: Result, theirs: Result) -> str:
    metric = "test_ndcg@10"
    return f"{ours[metric] / theirs[metric]:.1%}" if theirs.get(metric) else UNKNOWN


def shipping(file: Path = SHIPPING) -> str:
    """Per checkpoint: what becomes of bytes and accuracy on the way into a file."""
    if not file.exists():
        return _missing("shipping DATASET/ENTRY=CHECKPOINT ...")
    metrics = ("valid_ndcg@10", "valid_hit@10", "test_ndcg@10", "test_hit@10")
    header = ["checkpoint", "form", "bytes", "smaller", "NDCG@10 valid", "Hit@10 valid"]
    header += ["NDCG@10 test", "Hit@10 test", "of full precision", "quantization s", "item tokens"]
    header += ["request ms"]
    rows = []
    for label, its in _by_checkpoint(file).items():
        torch = next((result for entry, result in its if entry["format"] == "checkpoint"), {})
        for entry, result in its:
            row = [label, _form(entry)]
            if "out_of_memory" in result:
                rows.append([*row, "out of memory", *[UNKNOWN] * 9])
                continue
            row += [byte_count(result["size_bytes"])]
            row += [_times(result["size_bytes"], torch.get("size_bytes"))]
            row += [number(result[metric], ".4f") for metric in metrics]
            row += [_share(result, torch)]
            quantized = entry["bits"] != FULL
            row += [number(result["seconds"] if quantized else None, ",.1f")]
            row += [byte_count(result.get("size_bytes_of_tokens"))]
            rows.append([*row, number(result.get("latency_ms"), ".2g")])
    return markdown(header, rows, left=2) + "\n\n" + source_line(file)


def shipping_stack(file: Path = SHIPPING) -> str:
    """Every row beside the first checkpoint of its data set, where that is an original."""
    if not file.exists():
        return _missing("shipping DATASET/TEACHER=CHECKPOINT DATASET/STUDENT=CHECKPOINT")
    header = ["data set", "step", "form", "bytes", "smaller than the first", "NDCG@10 test"]
    header += ["of the first's"]
    first: dict[tuple[str, bool], Result] = {}
    rows = []
    for label, its in _by_checkpoint(file).items():
        dataset, _, step = label.partition("/")
        for entry, result in its:
            key = dataset, entry["exclude_history"]
            if "out_of_memory" in result or not (key in first or step.startswith(ORIGINALS)):
                continue
            start = first.setdefault(key, result)
            row = [dataset, step, _form(entry), byte_count(result["size_bytes"])]
            row += [_times(result["size_bytes"], start["size_bytes"])]
            row += [number(result["test_ndcg@10"], ".4f"), _share(result, start)]
            rows.append(row)
    return markdown(header, rows, left=3)
