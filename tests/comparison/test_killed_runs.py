"""Runs of ``recbole-compress compare`` that were killed end as if they had not been."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import torch

from recbole_compress.comparison import runs
from recbole_compress.quick_start.command_line import main
from recbole_compress.trainers.checkpoint import load_checkpoint
from tests.comparison.experiments import RUNS, write_experiment

KILL = """
import os, signal, sys
from recbole_compress.config.model_names import find_model
from recbole_compress.quick_start.command_line import main
model = find_model("GRU4Rec")
loss, calls = model.calculate_loss, [0]
def calculate_loss(self, interaction):
    calls[0] += 1
    if calls[0] == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(self, interaction)
model.calculate_loss = calculate_loss
sys.exit(main(sys.argv[1:]))
"""


def end_alike(whole, cut):
    """Same metrics and same weights; where the second one's checkpoint is."""
    ends = []
    for folder in (whole, cut):
        (run,) = json.loads(Path(folder, "comparison.json").read_text())["runs"]
        path = str(Path(folder, run["card"]["files"]["checkpoint"]))
        ends.append((run["card"]["metrics"], load_checkpoint(path)["state_dict"], path))
    (metrics, weights, _), (cut_metrics, cut_weights, path) = ends
    assert cut_metrics == metrics
    torch.testing.assert_close(cut_weights, weights, rtol=0, atol=0)
    return path


def test_a_killed_run_is_resumed_not_begun_anew(folder, monkeypatch):
    gru = {"gru": RUNS["gru"]}
    path = write_experiment(folder, runs=gru, shared={"epochs": 6, "stopping_step": 10})
    command = ["compare", path, "--seeds=1"]
    assert main([*command, "--output=whole"]) == 0

    with monkeypatch.context() as killing:
        killing.setattr(runs, "COMMAND", [sys.executable, "-c", KILL])
        assert main([*command, "--output=cut"]) == 1
    document = json.loads(Path("cut/comparison.json").read_text())
    assert f"status {-signal.SIGKILL}" in document["missing"][0]["reason"]
    (checkpoint,) = (
        p for p in Path("cut/runs/tiny/gru-1").glob("*.pth") if not p.stem.endswith(".resume")
    )

    assert main([*command, "--output=cut"]) == 0
    log = Path("cut/runs/tiny/gru-1.log").read_text()
    assert f"Resuming {checkpoint}" in log and log.count("Resuming") == 1
    assert Path(end_alike("whole", "cut")).name == checkpoint.name


def test_a_run_killed_while_its_teacher_trains_is_resumed(folder, monkeypatch):
    student = {
        "model": "TTSASRec",
        "recipe": "distillation",
        "embedding_size": 8,
        "inner_size": 8,
        "tt_ranks": 2,
    }
    path = write_experiment(
        folder,
        runs={"student": student},
        reference="student",
        shared={"epochs": 3, "stopping_step": 10},
    )
    command = ["compare", path, "--seeds=1"]
    assert main([*command, "--output=whole"]) == 0

    with monkeypatch.context() as killing:
        kill = KILL.replace("GRU4Rec", "TTSASRec").replace("== 20", "== 12")
        killing.setattr(runs, "COMMAND", [sys.executable, "-c", kill])
        assert main([*command, "--output=cut"]) == 1
    files = Path("cut/runs/tiny/student-1")
    assert not list(files.glob("*.pth")), "killed too late: the student has begun"
    assert list(files.glob("teacher/*.pth")), "killed too early: nothing to go on with"

    assert main([*command, "--output=cut"]) == 0
    assert "Resuming cut/runs/tiny/student-1/teacher/" in Path(f"{files}.log").read_text()
    end_alike("whole", "cut")
