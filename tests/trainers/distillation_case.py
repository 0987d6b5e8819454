"""Small runs of the distillation recipe."""

from __future__ import annotations

from recbole_compress.quick_start.quick_start import run_recbole_compress
from tests.conftest import SEQUENCES, write_interactions

__all__ = ["STOCK", "run", "settings_in"]

SETTINGS = {
    "recipe": "distillation",
    "kd_contrastive_weight": 0.2,  # all three losses
    "kd_predictive_weight": 0.001,
    "epochs": 3,
    "stopping_step": 10,
    "MAX_ITEM_LIST_LENGTH": 6,
    "train_batch_size": 64,
    "embedding_size": 8,
    "inner_size": 8,
    "tt_ranks": 4,
    "state": "ERROR",
    "threads": 1,
    "show_progress": False,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
}
STOCK = {"model": "SASRec", "hidden_size": 8, "n_heads": 2, "epochs": 1}


def settings_in(folder):
    """Settings of a run, its data set ``tiny`` in the folder."""
    return {**SETTINGS, "data_path": write_interactions(folder, "tiny", SEQUENCES[:60])}


def run(settings, model="TTSASRec", dataset="tiny"):
    return run_recbole_compress(model, dataset, config_dict=dict(settings))
