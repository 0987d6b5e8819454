"""Entries of ``recbole-compress compare`` that start from what another one has made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from recbole_compress.comparison import runs
from recbole_compress.comparison.run_files import RunFiles
from recbole_compress.quick_start.command_line import main
from tests.comparison.experiments import RUNS, document_in, write_experiment
from tests.marks import slow


def test_a_quantized_model_is_an_entry_like_others(folder, started):
    own = {**RUNS["gru"], "quantization_recipe": "ptq", "table_bits": 4}
    entries = {"gru": RUNS["gru"], "4 bits": {**own, "model": "DFQGRU4Rec"}}
    path = write_experiment(folder, runs=entries)
    assert main(["compare", path, "--seeds=1"]) == 0
    of_full, of_quantized = (run["card"] for run in document_in(folder)["runs"])
    assert of_quantized["model"] == "DFQGRU4Rec"
    assert of_quantized["size_bytes"]["total"] < of_full["size_bytes"]["total"] / 2
    files = RunFiles(folder / "runs/compare/exp/runs/tiny/4-bits-1")
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
    card = "runs/compare/exp/runs/tiny/gru-1.card.json"
    said = f"needs the checkpoint of 'gru', of which only the results are here; delete {card} to"
    assert said in capsys.readouterr().out
    Path(card).unlink()
    assert main(["compare", path, "--only=student"]) == 0


SMALL = {"model": "CpRecGRU4Rec", "embedding_size": 8, "hidden_size": 8}
TEACHER = {**SMALL, "item_embedding": "dense", "item_head": "tied"}
STUDENT = {**SMALL, "recipe": "distillation", "checkpoints": {"teacher_path": "teacher"}}
CHAIN = {
    "teacher": TEACHER,
    "student": STUDENT,
    "quantized": {
        **SMALL,
        "model": "DFQCpRecGRU4Rec",
        "quantization_recipe": "ptq",
        "table_bits": 4,
        "checkpoints": {"full_precision_path": "student"},
    },
    "Pop": {"model": "Pop"},
}


@pytest.fixture
def compared(folder, started, monkeypatch):
    """Compares a chain of entries, its teacher with these settings; which runs were started."""
    monkeypatch.setattr("recbole_compress.quick_start.compare._plot", lambda *arguments: None)

    def compare(*arguments, output="out", status=0, **of_teacher):
        entries = {**CHAIN, "teacher": {**TEACHER, **of_teacher}}
        path = write_experiment(folder, runs=entries, seeds=[1], reference=None)
        started.clear()
        assert main(["compare", path, f"--output={output}", *arguments]) == status
        return [name.removesuffix("-1") for name in started]

    return compare


def results():
    return json.loads(Path("out/comparison.json").read_text())


@pytest.mark.slow
def test_what_took_a_checkpoint_is_made_again_with_it(compared):
    assert compared() == list(CHAIN)
    assert compared() == []
    assert compared(epochs=2) == ["teacher", "student", "quantized"]
    teacher, student, *_ = (run["card"]["files"] for run in results()["runs"])
    assert student["teacher"] == teacher["checkpoint"]
    # Also if it was made again by itself, and before without a note of what was taken.
    assert compared("--only=teacher", epochs=3) == ["teacher"]
    for note in Path("out").rglob("*.taken.yaml"):
        note.unlink()
    assert compared("--table", epochs=3) == []
    assert [each["entry"] for each in results()["missing"]] == ["student", "quantized"]
    assert compared(epochs=3) == ["student", "quantized"]


def test_what_took_a_checkpoint_is_kept_with_it(compared):
    compared()
    # Another place, other times, an earlier version's folder, no checkpoints: the same runs.
    shutil.copytree("out", "copied", copy_function=shutil.copyfile)
    for note in Path("copied").rglob("*.taken.yaml"):
        note.unlink()
    shutil.rmtree("copied/runs/tiny/teacher-1")
    assert compared(output="copied") == []
    # A teacher that is only evaluated again is the same one.
    Path("out/runs/tiny/teacher-1.card.json").unlink()
    assert compared() == ["teacher"]


@pytest.mark.parametrize("gone", ["*", slow("*/teacher-1*")])
def test_a_results_file_says_what_was_taken(compared, gone):
    compared()
    for path in Path("out/runs").glob(gone):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert compared() == []
    assert compared(epochs=2) == ["teacher", "student", "quantized"]


def test_a_run_that_was_cut_off_goes_on_with_its_teacher_only(compared, capsys):
    compared("--only=student")
    card, log = (Path(f"out/runs/tiny/student-1.{ending}") for ending in ("card.json", "log"))
    (before,) = Path("out/runs/tiny/student-1").glob("*.pth")
    card.unlink()
    assert compared("--only=student") == ["student"]
    assert before.exists()
    card.unlink()
    capsys.readouterr()
    for number, epochs in enumerate((3, 2), 1):  # what was finished is kept, every time
        (of_before,) = Path("out/runs/tiny/teacher-1").glob("*.pth")
        assert compared("--only=teacher", epochs=epochs) == ["teacher"]
        kept = Path(f"out/runs/tiny/teacher-1.before-{number}")
        assert f"told otherwise, is kept as {kept}" in capsys.readouterr().out
        assert (kept / of_before.name).exists() and Path(f"{kept}.card.json").exists()
    assert compared("--only=student", epochs=2) == ["student"]
    assert not before.exists() and log.exists()


def test_a_run_does_not_take_what_is_out_of_date(compared, monkeypatch, capsys):
    compared()
    calls = []
    with monkeypatch.context() as failing:
        failing.setattr(runs._Children, "run", lambda *arguments: calls.append(arguments) or 1)
        compared(epochs=2, status=1)
    assert len(calls) == 1  # the student's old checkpoint is still there
    out = capsys.readouterr().out
    for key, entry in (("teacher_path", "teacher"), ("full_precision_path", "student")):
        assert f"{key} needs the checkpoint of {entry!r}, which is not there" in out
    assert compared(epochs=2) == ["teacher", "student", "quantized"]
