"""What the benchmarks do otherwise on a GPU, told without one."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from benchmarks import catalogue_growth, pages, results_file, training_speed
from benchmarks.fresh_process import ROOT, _is_out_of_memory
from benchmarks.results_file import common_parser, measure_all
from benchmarks.step_phases import StepPhases
from benchmarks.timed_batches import TimedBatches
from tests.benchmarks.markdown import table_in

MADE = {"torch": "1", "cpu": "c", "gpu": "H100", "commit": "0123456789abc", "threads": 1}


@pytest.fixture
def waits(monkeypatch):
    """How often it was waited for a GPU that is not there."""
    seen = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: seen.append(len(seen)))
    return seen


@pytest.mark.parametrize(
    "name, default",
    [
        ("training_speed", list(training_speed.entries(None))),
        ("catalogue_growth", list(catalogue_growth.entries(8.0))),
    ],
)
def test_what_was_measured_on_the_cpu_is_known_again(name, default):
    runs = json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text())["runs"]
    known = [run["entry"] for run in runs]
    assert [e for e in default if {**e, "seed": 2020, "threads": 1} not in known] == []


def test_rows_on_a_gpu():
    rows = list(training_speed.entries(None, "cuda"))
    assert len({json.dumps(row) for row in rows}) == len(rows) == 3 * 15 + 2 * 4 + 4
    epochs = [row for row in rows if row["compare"] == "epochs"]
    assert {row["sample_seconds"] for row in epochs} == {2.0}
    short = [row for row in epochs if "bf16" in row["variant"]]
    assert {row["backbone"] for row in short} == {"NextItNet"} and len(short) == 8


def test_all_entries_share_this_process_and_go_to_a_file_of_their_own(tmp_path, monkeypatch, waits):
    for name in ("init", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(results_file, "_file_of", lambda name: tmp_path / f"{name}.json")
    parser = common_parser("growth", "about", on_gpu=True)
    assert parser.parse_args([]).device == "cpu"
    options = parser.parse_args(["--device=cuda"])
    entry = {"n_items": 300, "head": "tied", "sample_seconds": 0.0, "max_steps": 6}
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="no GPU"):
            measure_all("benchmarks.catalogue_growth", [entry], options)
        there = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: True))
        monkeypatch.setattr(results_file, "torch", there)
    (run,) = measure_all("benchmarks.catalogue_growth", [entry], options)["runs"]
    assert json.loads((tmp_path / "growth_gpu.json").read_text())["runs"] == [run]
    assert run["entry"] == {**entry, "seed": 2020, "threads": 1, "device": "cuda"}
    assert run["result"]["topk_is_exact"] and "peak_gpu_bytes" in run["result"]
    assert not [key for key in run["result"] if "rss" in key]
    assert len(waits) == 2


def test_counted_steps_begin_and_end_with_nothing_left_to_do(waits):
    batches = TimedBatches([[1]] * 10, len, warm_up=5, seconds=0.0, device="cuda")
    at = [len(waits) for _ in batches]
    assert at == [0] * 5 + [1] * 3 and len(waits) == 2

    list(TimedBatches([[1]] * 10, len))
    assert len(waits) == 2  # no GPU, no waiting


def test_every_mark_of_a_step_waits(waits):
    model = SimpleNamespace(
        hidden_states=None,
        item_head=SimpleNamespace(loss=None),
        item_embedding=torch.nn.Linear(1, 1),
    )
    optimizer = torch.optim.SGD([torch.zeros(1)])
    phases = StepPhases(model, optimizer, "cuda")
    for name in ("ask", "given", "end"):
        phases.mark(name)
    assert len(waits) == 3


def test_what_cuda_says_when_memory_ends_is_known():
    assert _is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried ..."))


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Writes the runs of a made-up file."""
    monkeypatch.setattr(pages, "RESULTS", tmp_path)

    def write(name, *runs):
        document = {"runs": [{"entry": e, "result": r, "provenance": MADE} for e, r in runs]}
        (tmp_path / f"{name}.json").write_text(json.dumps(document))

    return write


def epoch(variant, seconds, peak, backbone="NextItNet"):
    entry = {"compare": "epochs", "dataset": "d", "backbone": backbone, "variant": variant}
    return entry, {"seconds_per_epoch": seconds, "peak_gpu_bytes": peak}


def test_tables_of_epochs_on_a_gpu(results):
    results(
        "training_speed_gpu",
        epoch("as_shipped", 10.0, 4e9),
        epoch("untied", 2.5, 2e9),
        epoch("cprec", 2.0, 1e9),
        epoch("untied, bf16", 1.25, 1.5e9),
        epoch("untied, bf16, 8x batch", 0.5, 3e9),
        ({**epoch("cprec", 0, 0, "SASRec")[0]}, {"out_of_memory": "CUDA out of memory"}),
    )
    text = pages.TABLES["epochs_gpu"]()
    _, (first, second) = table_in(text)
    assert first[:3] == ["d", "NextItNet", "10"] and first[-2:] == ["4.0x", "5.0x"]
    assert "H100" in text and "training_speed_gpu.json" in text
    assert second[1] == "SASRec" and len(set(second[2:])) == 1

    header, (first, second) = table_in(pages.TABLES["gpu_memory"]())
    assert len(header) == 7 and first[2] == "4 GB" and first[-1] == "1 GB"

    header, (row,) = table_in(pages.TABLES["short_floats"]())
    assert row[2:6] == ["untied", "2.5", "1.25", "0.5"] and row[6:] == ["2 GB", "1.5 GB", "3 GB"]


def test_table_of_a_growing_catalogue_on_a_gpu(results):
    done = {"parameter_bytes": 1e6, "step_ms": 2.345, "request_ms": {"p50": 1.5}}
    done |= {"peak_gpu_bytes": 2e9, "topk_is_exact": True}
    results(
        "catalogue_growth_gpu",
        ({"n_items": 1000, "head": "tied"}, done),
        ({"n_items": 1000, "head": "untied"}, {"out_of_memory": "o", "peak_gpu_bytes": 1}),
    )
    _, (first, second) = table_in(pages.TABLES["growth_gpu"]())
    assert first == ["1,000", "tied", "1 MB", "2.3", "2 GB", "1.5", "yes"]
    assert second[4] == "out of memory"


def test_table_of_phases_on_a_gpu(results):
    entry = {"compare": "phases", "dataset": "d", "variant": "cprec"}
    results("training_speed_gpu", (entry, {"median_step_ms": 3.0, "share": {"zero_grad": 0.5}}))
    header, (row,) = table_in(pages.TABLES["phases_gpu"]())
    assert header[-1] == "zero grad" and row == ["d", "cprec", "3.0", "50%"]
