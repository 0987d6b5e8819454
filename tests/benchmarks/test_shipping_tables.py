"""The tables of exported files say what their JSON files say."""

from __future__ import annotations

import json

import pytest

from benchmarks.shipping_tables import artifact_latency, artifact_sizes, shipping, shipping_stack
from tests.benchmarks.markdown import table_in

MADE = {"torch": "1", "cpu": "c", "commit": "0123456789abc", "threads": 1}


def written(path, runs):
    document = {"runs": [{"entry": e, "result": r, "provenance": MADE} for e, r in runs]}
    path.write_text(json.dumps(document))
    return path


def rows_of(text):
    """Dicts of cells, by header; headers that come twice keep their first."""
    header, rows = table_in(text)
    return [dict(reversed(list(zip(header, row, strict=True)))) for row in rows]


def artifact(variant, size, p50, items=1000):
    latency = [
        {"batch_size": batch, "p50": p50 * batch, "p95": 2 * p50 * batch} for batch in (1, 32)
    ]
    entry = {"items": items, "dim": 64, "variant": variant}
    return entry, {"size_bytes": size, "latency_ms": latency, "resident_bytes": 2 * size}


@pytest.fixture
def artifacts(tmp_path):
    return written(
        tmp_path / "artifacts.json",
        [
            artifact("torch_fp32", 8_000_000, 10.0),
            artifact("w4", 1_000_000, 2.0),
            artifact("public_4_bit", 2_500_000, 5.0),
            artifact("w4", 10, 1.0, items=5),
            ({"items": 9, "dim": 64, "variant": "w4"}, {"out_of_memory": "no"}),
        ],
    )


def test_sizes_beside_torch_and_the_public_route(artifacts):
    without, no_room, torch, ours, public = rows_of(artifact_sizes(artifacts))
    assert ours["variant"] == "w4" and ours["on disk"] == "1 MB" and ours["in memory"] == "2 MB"
    assert ours["smaller than torch"] == "8x" and ours["than public 4-bit"] == "2.5x"
    assert torch["smaller than torch"] == "1x" and public["smaller than torch"] == "3.2x"
    assert without["smaller than torch"] == "-"  # torch was not measured on that catalogue
    assert no_room["on disk"] == "out of memory"
    assert "commit `0123456789`" in artifact_sizes(artifacts)


def test_times_beside_torch_and_the_public_route(artifacts):
    _, no_room, _, ours, _ = rows_of(artifact_latency(artifacts))
    assert ours["p50 ms, batch 1"] == "2" and ours["p50 ms, batch 32"] == "64"
    assert ours["p95 ms"] == "4"
    assert ours["faster than torch"] == "5x" and ours["than public 4-bit"] == "2.5x"
    assert no_room["p50 ms, batch 1"] == "-"


def shipped(name, format, bits, size, ndcg, recipe=None, **more):
    entry = {"name": name, "format": format, "bits": bits, "recipe": recipe}
    metrics = {f"{split}_{m}@10": ndcg for split in ("valid", "test") for m in ("ndcg", "hit")}
    result = {"seconds": 3.0 if recipe else 0.0, "size_bytes": size, **metrics, **more}
    return {**entry, "exclude_history": False, "quantization": {}}, result


@pytest.fixture
def checkpoints(tmp_path):
    return written(
        tmp_path / "shipping.json",
        [
            shipped("beauty/teacher", "checkpoint", 32, 40_000, 0.5),
            shipped("beauty/student", "onnx", 4, 400, 0.2, "ptq", size_bytes_of_tokens=70),
            shipped("beauty/student", "checkpoint", 32, 4_000, 0.25),
        ],
    )


def test_files_beside_their_checkpoint(checkpoints):
    teacher, student, file = rows_of(shipping(checkpoints))
    assert [row["form"] for row in (teacher, student, file)] == [
        "torch, fp32",
        "torch, fp32",
        "file, 4 bits (ptq)",
    ]
    assert file["bytes"] == "400 B" and file["smaller"] == "10x"
    assert file["NDCG@10 valid"] == file["Hit@10 test"] == "0.2000"
    assert file["of full precision"] == "80.0%"
    assert file["quantization s"] == "3.0" and file["item tokens"] == "70 B"
    assert student["quantization s"] == "-" and student["item tokens"] == "-"


def test_files_beside_the_first_checkpoint_of_the_data_set(checkpoints):
    _, student, file = rows_of(shipping_stack(checkpoints))
    assert file["data set"] == "beauty" and file["step"] == "student"
    assert file["smaller than the first"] == "100x" and file["of the first's"] == "40.0%"
    assert student["smaller than the first"] == "10x"


def test_models_that_replace_nothing_are_not_beside_each_other(tmp_path):
    runs = [shipped(f"ml/{name}", "checkpoint", 32, 40_000, 0.5) for name in ("SASRec", "GRU4Rec")]
    file = written(tmp_path / "shipping.json", runs)
    assert not rows_of(shipping_stack(file)) and len(rows_of(shipping(file))) == 2


@pytest.mark.parametrize("table", [artifact_sizes, artifact_latency, shipping, shipping_stack])
def test_before_the_measurement_it_says_how(tmp_path, table):
    assert "Not measured yet: `python -m benchmarks." in table(tmp_path / "none.json")
