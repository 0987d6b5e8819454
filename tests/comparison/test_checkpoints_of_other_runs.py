"""Entries of ``recbole-compress compare`` that start from what another one has made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from recbole_compress.comparison import runs
from recbole_compress.quick_start.command_line import main
from tests.comparison.experiments import RUNS, document_in, write_experiment


def test_a_quantized_model_is_an_entry_like_others(folder, started):
    own = {**RUNS["gru"], "quantization_recipe": "ptq", "table_bits": 4}
    entries = {"gru": RUNS["gru"], "4 bits": {**own, "model": "DFQGRU4Rec"}}
    path = write_experiment(folder, runs=entries)
    assert main(["compare", path, "--seeds=1"]) == 0
    of_full, of_quantized = (run["card"] for run in document_in(folder)["runs"])
    assert of_quantized["model"] == "DFQGRU4Rec"
    assert of_quantized["size_bytes"]["total"] < of_full["size_bytes"]["total"] / 2
    files = runs.RunFiles(folder / "runs/compare/exp/runs/tiny/4-bits-1")
    assert str(files.checkpoint()).endswith(".quantized.pth")
    # What a run that was cut off would train on is the full-precision model.
    assert files.resumable() == Path(str(files.checkpoint()).replace(".quantized", ""))


def test_quantized_entries_of_one_checkpoint_leave_it_alone(folder, started):
    own = {**RUNS["gru"], "model": "DFQGRU4Rec", "quantization_recipe": "ptq"}
    own["checkpoints"] = {"full_precision_path": "gru"}
    entries = {"gru": RUNS["gru"], **{f"{n} bits": {**own, "table_bits": n} for n in (8, 4)}}
    path = write_experiment(folder, runs=entries)
    for _ in range(2):
        assert main(["compare", path, "--seeds=1"]) == 0
        made = folder / "runs/compare/exp/runs/tiny"
        assert [file.suffixes for file in (made / "gru-1").iterdir()] == [[".pth"]]
        cards = [json.loads((made / f"{n}-bits-1.card.json").read_text()) for n in (8, 4)]
        assert [card["choices"]["table_bits"] for card in cards] == [8, 4]
        (made / "4-bits-1.card.json").unlink()


def test_a_run_takes_the_checkpoint_of_another(folder, started, capsys):
    small = {"embedding_size": 8, "hidden_size": 8}
    entries = {
        "gru": {"model": "CpRecGRU4Rec", "item_embedding": "dense", "item_head": "tied", **small},
        "student": {
            "model": "CpRecGRU4Rec",
            **small,
            "recipe": "distillation",
            "checkpoints": {"teacher_path": "gru"},
        },
        "Pop": {"model": "Pop"},
    }
    path = write_experiment(folder, runs=entries)
    assert main(["compare", path, "--only=student", "--jobs=2"]) == 0
    assert started.index("gru-1") < started.index("student-1")
    students = [run for run in document_in(folder)["runs"] if run["entry"] == "student"]
    assert len(students) == 2
    for run in students:
        assert run["settings"]["teacher_path"] == "the checkpoint of gru"
        assert f"gru-{run['seed']}/" in run["card"]["files"]["teacher"]
    started.clear()
    assert main(["compare", path, "--only=student"]) == 0
    assert started == []

    shutil.rmtree(folder / "runs/compare/exp/runs/tiny/gru-1")
    (folder / "runs/compare/exp/runs/tiny/student-1.card.json").unlink()
    (folder / "runs/compare/exp/comparison.json").unlink()
    assert main(["compare", path, "--only=student"]) == 1
    assert "needs the checkpoint of 'gru', which is not there" in capsys.readouterr().out
