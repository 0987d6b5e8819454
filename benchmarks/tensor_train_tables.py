"""The tables of what tensor-train tables cost."""

from __future__ import annotations

from typing import Any

from benchmarks.fresh_process import ROOT
from benchmarks.results_file import runs_in, source_line
from recbole_compress.functional.tensor_train_costs import reads_whole_table, scoring_plan
from recbole_compress.functional.tensor_train_shapes import TensorTrainShape
from recbole_compress.reports.readable import UNKNOWN, byte_count, count, markdown, number

__all__ = ["tensor_train_lookup", "tensor_train_scoring", "tensor_train_steps"]

FILE = ROOT / "docs" / "results" / "tensor_train.json"


def tensor_train_scoring() -> str:
    """Per table and batch: the dense product, and the ways to do without its table."""
    header = ["catalogue", "table", "smaller", "rows", "dense", "core by core", "best grouping"]
    header += ["table built", "table kept", "chosen", "chosen, table kept"]
    rows, excess = [], []
    for entry, result in runs_in(FILE, compare="scoring"):
        shape = _shape(result)
        for batch, measured in result["batches"].items():
            ms = measured["ms"]
            # Of the rule as it is today, whenever the times were taken.
            chosen, with_table = (
                "+".join(map(str, scoring_plan(shape, int(batch), table_ready=ready)))
                for ready in (False, True)
            )
            plans = {name: time for name, time in ms.items() if name not in ("dense", "table kept")}
            excess.append(plans[chosen] / min(plans.values()))
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
                    chosen,
                    with_table,
                ]
            )
    fastest = sum(times == 1 for times in excess)
    said = (
        f"Without a kept table the way chosen was the fastest in {fastest} of {len(excess)} rows, "
        f"elsewhere up to {max(excess):.1f} times slower than the fastest."
    )
    return "\n\n".join([markdown(header, rows, left=2), said, source_line(FILE)])


def tensor_train_lookup() -> str:
    header = ["catalogue", "table", "sequences of 50", "distinct items", "dense ms", "ms", "from"]
    rows = []
    for entry, result in runs_in(FILE, compare="lookup"):
        shape = _shape(result)
        for sequences, measured in result["sequences"].items():
            ms = measured["ms"]
            row = [entry["catalogue"], entry["table"], count(int(sequences))]
            row += [count(measured["distinct"]), number(ms["dense"], ",.3g")]
            read = reads_whole_table(shape, measured["distinct"], kept=True)
            rows.append([*row, number(ms["tensor train"], ",.3g"), "table" if read else "cores"])
    return markdown(header, rows, left=2)


def _shape(result: dict[str, Any]) -> TensorTrainShape:
    rows, cols, ranks = (tuple(result[name]) for name in ("rows", "cols", "ranks"))
    return TensorTrainShape(rows, cols, ranks)


def tensor_train_steps() -> str:
    header = ["catalogue", "table", "targets", "dense ms", "ms", "of dense", "peak memory"]
    rows = []
    for entry, result in runs_in(FILE, compare="step"):
        for targets, measured in result["targets"].items():
            ms = measured["ms"]
            row = [entry["catalogue"], entry["table"], count(int(targets))]
            row += [number(ms["dense"], ",.0f"), number(ms["tensor train"], ",.0f")]
            row += [f"{measured['ratio']:.2f}", byte_count(result["rss_bytes_trained"])]
            rows.append(row)
    return markdown(header, rows, left=2)
