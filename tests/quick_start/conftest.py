"""Trained checkpoints, with their data and without."""

from __future__ import annotations

import os
import shutil

import pytest

from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.trainers.checkpoint import load_checkpoint, save_checkpoint
from tests.conftest import SEQUENCES, write_interactions
from tests.quantization.models import OURS, STOCK

QUICK = {
    "epochs": 1,
    "MAX_ITEM_LIST_LENGTH": 6,
    "show_progress": False,
    "threads": 1,
    "metrics": ["NDCG", "Hit"],
    "valid_metric": "NDCG@10",
}
SMALL = {**STOCK, **OURS}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Checkpoints by model, each trained once; the folder they and the data lie in."""
    folder = tmp_path_factory.mktemp("trained")
    path = write_interactions(folder / "data", "tiny", SEQUENCES)
    made: dict[str, str] = {}

    def checkpoint(model):
        if model not in made:
            settings = {**QUICK, **SMALL[model], "data_path": path, "checkpoint_dir": str(folder)}
            settings["log_wandb"] = False
            before = os.getcwd()
            os.chdir(folder)
            try:
                made[model] = run_recbole_compress(model, "tiny", config_dict=settings)[
                    "checkpoint"
                ]
            finally:
                os.chdir(before)
        return made[model]

    return checkpoint


@pytest.fixture
def alone(trained, in_tmp, monkeypatch):
    """A copy of a checkpoint in a folder without any data, and its data hidden meanwhile."""

    def copied(model="SASRec"):
        shutil.copy(trained(model), "full.pth")
        state = load_checkpoint("full.pth")
        state["config"].external_config_dict["data_path"] = "gone/for/good"
        save_checkpoint(state, "full.pth")
        return "full.pth"

    return copied


def changed(path, change):
    state = load_checkpoint(path)
    change(state)
    save_checkpoint(state, path)
    return path
