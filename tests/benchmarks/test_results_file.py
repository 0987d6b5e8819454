"""Entries are measured in processes of their own and kept as they come."""

from __future__ import annotations

import doctest
import json

import pytest
import torch

from benchmarks import results_file, synthetic, timed_batches
from benchmarks.fresh_process import _is_out_of_memory
from benchmarks.results_file import common_parser, measure_all
from benchmarks.timed_batches import TimedBatches

MODULE = "benchmarks.catalogue_growth"


def entry(n_items, **more):
    return {"n_items": n_items, "head": "two_level", "sample_seconds": 0, "max_steps": 6, **more}


def test_a_file_grows_entry_by_entry_and_an_interrupted_benchmark_goes_on(tmp_path):
    output = tmp_path / "results" / "growth.json"
    options = common_parser("growth", "about").parse_args([f"--output={output}"])
    seen = []

    def summary(runs):
        seen.append(len(runs))
        return {"n_runs": len(runs)}

    first = measure_all(MODULE, [entry(300)], options, summary=summary)
    assert json.loads(output.read_text()) == first and first["n_runs"] == 1
    (run,) = first["runs"]
    assert run["entry"] == {**entry(300), "seed": 2020, "threads": 1}
    assert run["provenance"]["threads"] == 1 and run["provenance"]["torch"] == torch.__version__
    assert 0 < run["result"]["baseline_rss_bytes"] <= run["result"]["peak_rss_bytes"]

    # The first is there; the second does not fit; the third was not asked for.
    options.memory_limit = 0.9  # GB, and a growing catalogue asks for one beforehand
    options.only = ["head=two_level"]
    second = measure_all(
        MODULE, [entry(300), entry(400), entry(500, head="tied")], options, summary=summary
    )
    assert second["runs"][0] == run
    assert [r["entry"]["n_items"] for r in second["runs"]] == [300, 400]
    assert "GB" in second["runs"][1]["result"]["out_of_memory"]
    assert seen == [1, 2] and json.loads(output.read_text()) == second


@pytest.mark.slow
def test_several_entries_at_a_time_are_the_same_entries(tmp_path):
    output = tmp_path / "growth.json"
    options = common_parser("growth", "about").parse_args([f"--output={output}", "--jobs=2"])
    document = measure_all(MODULE, [entry(300), entry(400)], options)
    assert json.loads(output.read_text()) == document
    assert {
        run["entry"]["n_items"]: run["result"]["topk_is_exact"] for run in document["runs"]
    } == {
        300: True,
        400: True,
    }
    options.again = True
    again = measure_all(MODULE, [entry(400)], options)
    assert [run["entry"]["n_items"] for run in again["runs"]] == [400]


def test_two_that_measure_into_one_file_keep_each_others_entries(tmp_path, monkeypatch):
    options = common_parser("growth", "about").parse_args([f"--output={tmp_path / 'growth.json'}"])

    def measured(module, entry, context, memory_limit):
        if entry["n_items"] == 300:  # meanwhile, elsewhere
            measure_all(MODULE, [{"n_items": 400}, {"n_items": 500}], options)
        return {"result": {"ms": entry["n_items"]}, "provenance": None}

    monkeypatch.setattr(results_file, "measure_apart", measured)
    document = measure_all(MODULE, [{"n_items": 300}, {"n_items": 500}], options)
    assert [run["entry"]["n_items"] for run in document["runs"]] == [400, 300, 500]


def test_what_torch_says_when_memory_ends_is_known():
    with pytest.raises(RuntimeError) as told:
        torch.empty(2**50)
    assert _is_out_of_memory(told.value)
    assert _is_out_of_memory(MemoryError()) and not _is_out_of_memory(RuntimeError("shape"))


def test_an_epoch_is_timed_whole_or_by_its_first_batches():
    whole = TimedBatches([[1] * n for n in range(1, 11)], len, warm_up=2)
    assert len(list(whole)) == 10 and whole.complete
    assert whole.targets == list(range(3, 11)) and len(whole.seconds) == 8

    sample = TimedBatches([[1]] * 10, len, warm_up=2, seconds=0.0, min_steps=3)
    assert len(list(sample)) == 5 and not sample.complete
    assert len(sample.seconds) == 3 and min(sample.seconds) > 0

    short = TimedBatches([[1, 2]], len, warm_up=2, seconds=0.0)
    assert len(list(short)) == 1 and short.complete and short.targets == [2]


@pytest.mark.parametrize("module", [synthetic, timed_batches], ids=lambda m: m.__name__)
def test_examples_in_the_docstrings(module):
    tried = doctest.testmod(module)
    assert tried.attempted and not tried.failed


def test_popular_items_are_drawn_as_often_as_their_counts_say():
    catalogue = synthetic.ZipfCatalogue(50, exponent=1.0, interactions_per_item=400, seed=1)
    drawn = torch.bincount(catalogue.draw(200, 100).flatten(), minlength=51)
    expected = catalogue.item_counts()
    assert drawn.sum() == 20_000
    assert ((drawn - expected).abs() <= 5 * expected.sqrt()).all()  # the padding id never
