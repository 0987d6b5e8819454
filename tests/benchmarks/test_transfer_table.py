"""The transfer page's table says what the cards say."""

from __future__ import annotations

import json

from benchmarks.transfer_table import transfer
from tests.benchmarks.markdown import table_in


def card(parameters, seconds, sampled, full):
    return {
        "pretraining": {
            "seconds": seconds,
            "parameters": {"total": parameters},
            "size_bytes": {"total": 4 * parameters},
        },
        "training": {"seconds": 7.0},
        "parameters": {"total": 2 * parameters},
        "metrics": {
            "test": {"hit@5": full, "mrr@5": full},
            "test_sampled": {"hit@5": sampled, "mrr@5": sampled},
        },
    }


def test_means_ratios_and_the_run_from_scratch(tmp_path):
    runs = [
        ("big", card(8000, 100.0, 0.5, 0.05)),
        ("small", card(2000, 50.0, 0.5, 0.05)),
        ("small", card(2000, 70.0, 0.6, 0.07)),
        ("small from scratch", card(2000, 0.0, 0.25, 0.02)),
    ]
    document = {
        "experiment": {"reference": "big"},
        "runs": [{"entry": entry, "card": its} for entry, its in runs],
        "provenance": {"torch": "1", "cpu": "c", "commit": "abc"},
    }
    file = tmp_path / "comparison.json"
    file.write_text(json.dumps(document))
    header, rows = table_in(transfer(file))
    assert [row[0] for row in rows] == ["big", "small"]
    small = dict(zip(header, rows[1], strict=True))
    assert small["x fewer"] == "4.00" and small["pre-training s"] == "60"
    assert small["MRR@5 of 100"] == "0.5500" and small["of the reference's"] == "110.0%"
    assert small["from scratch"] == "0.2500" and small["MRR@5 of all"] == "0.0600"
    assert small["of the reference's, of all"] == "120.0%"
    assert small["seeds"] == "2" and small["parameters after it"] == "4,000"


def test_before_the_measurement_it_says_how(tmp_path):
    file = tmp_path / "games" / "comparison.json"
    assert "python -m benchmarks.comparisons games`" in transfer(file)
    assert "ml-1m-transfer" in transfer()  # what it is about where nothing is named
