"""Runs of ``recbole-compress compare`` that were killed end as if they had not been."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from recbole_compress.comparison import runs
from recbole_compress.errors import ConfigError
from recbole_compress.quick_start.command_line import main
from recbole_compress.trainers.self_sample_trainer import SelfSampleTrainer
from tests.comparison.experiments import RUNS, run_here, write_experiment
from tests.cut_runs import assert_same_weights, cut_at, killing

COMPARE = """
from recbole_compress.quick_start.command_line import main
sys.exit(main(sys.argv[1:]))
"""


def cards_in(folder):
    """By entry."""
    document = json.loads(Path(folder, "comparison.json").read_text())
    return {run["entry"]: run["card"] for run in document["runs"]}


def end_alike(whole, cut):
    """Same metrics and same weights; where the second one's checkpoint is."""
    cards = [next(iter(cards_in(folder).values())) for folder in (whole, cut)]
    assert cards[0]["metrics"] == cards[1]["metrics"]
    paths = [
        str(Path(f, c["files"]["checkpoint"])) for f, c in zip((whole, cut), cards, strict=True)
    ]
    assert_same_weights(*paths)
    return paths[1]


@pytest.mark.slow
def test_a_killed_run_is_resumed_not_begun_anew(folder, monkeypatch):
    gru = {"gru": RUNS["gru"]}
    path = write_experiment(folder, runs=gru, shared={"epochs": 6, "stopping_step": 10})
    command = ["compare", path, "--seeds=1"]
    with monkeypatch.context() as patch:
        run_here(patch)
        assert main([*command, "--output=whole"]) == 0

    with monkeypatch.context() as patch:
        patch.setattr(runs, "COMMAND", [sys.executable, "-c", killing("GRU4Rec", 20, COMPARE)])
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


def test_a_quantization_that_was_cut_off_goes_on(folder, started):
    own = {**RUNS["gru"], "model": "DFQGRU4Rec", "table_bits": 1, "df_epochs": 3}
    own |= {"df_sequences": 40, "df_valid_sequences": 20, "stopping_step": 10}
    given = {**own, "checkpoints": {"full_precision_path": "gru"}}
    path = write_experiment(folder, runs={"gru": RUNS["gru"], "own": own, "given": given})
    command = ["compare", path, "--seeds=1"]
    assert main([*command, "--output=whole"]) == 0
    for entry in ("own", "given"):
        with cut_at(2, lambda trainer: isinstance(trainer, SelfSampleTrainer)) as left:
            main([*command, "--output=cut", f"--only={entry}"])
        assert os.path.dirname(left[0]) == f"cut/runs/tiny/{entry}-1/quantization"
        assert main([*command, "--output=cut", f"--only={entry}"]) == 0
        assert not os.path.exists(left[0])
    started.clear()
    assert main([*command, "--output=cut"]) == 0 and started == []
    whole, cut = cards_in("whole"), cards_in("cut")
    assert {name: card["metrics"] for name, card in cut.items()} == {
        name: card["metrics"] for name, card in whole.items()
    }
    assert [cut[name]["quantization"]["passes"] for name in ("own", "given")] == [3, 3]


@pytest.mark.slow
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

    with monkeypatch.context() as patch:
        kill = killing("TTSASRec", 12, COMPARE)
        patch.setattr(runs, "COMMAND", [sys.executable, "-c", kill])
        assert main([*command, "--output=cut"]) == 1
    files = Path("cut/runs/tiny/student-1")
    assert not list(files.glob("*.pth")), "killed too late: the student has begun"
    assert list(files.glob("teacher/*.pth")), "killed too early: nothing to go on with"

    assert main([*command, "--output=cut"]) == 0
    assert "Resuming cut/runs/tiny/student-1/teacher/" in Path(f"{files}.log").read_text()
    end_alike("whole", "cut")


def test_a_run_that_outlives_its_comparison_keeps_others_out(tmp_path):
    children = runs._Children()
    with runs._in_use(tmp_path) as lock, open(tmp_path / "log", "wb") as log:
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        run = threading.Thread(target=children.holding(lock).run, args=(command, log))
        run.start()
        while not children._running:
            time.sleep(0.01)
    # What held the folder is gone, as after a kill, and the run trains on.
    try:
        with pytest.raises(ConfigError, match=r"--output=.*a run that outlived one"):
            runs._in_use(tmp_path).__enter__()
    finally:
        children.stop()
        run.join()
    with runs._in_use(tmp_path):
        pass
