"""What the tests have several processes do: functions that a fresh Python can import."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import torch

from recbole_compress.distributed.group import gathered, joined
from recbole_compress.distributed.place import here
from recbole_compress.errors import TrainingError
from recbole_compress.quick_start import quick_start
from recbole_compress.quick_start.quick_start import run_recbole_compress
from tests.cut_runs import cut_at

SETTINGS = {
    "epochs": 2,
    "stopping_step": 10,
    "MAX_ITEM_LIST_LENGTH": 6,
    "train_batch_size": 64,
    # several batches, so that each process has some; not a multiple of the processes
    "eval_score_bytes": 4 * 38 * 16,
    "metric_decimal_place": 16,
    "state": "ERROR",
    "threads": 1,
    "show_progress": False,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
}
MODELS = {
    "CpRecNextItNet": {"embedding_size": 8, "dilations": [1], "embedding_dropout_prob": 0.0},
    "SASRec": {
        "hidden_size": 8,
        "inner_size": 8,
        "hidden_dropout_prob": 0.0,
        "attn_dropout_prob": 0.0,
    },
    "TTSASRec": {
        "embedding_size": 8,
        "inner_size": 8,
        "tt_ranks": 4,
        "hidden_dropout_prob": 0.0,
        "attn_dropout_prob": 0.0,
    },
    "Pop": {},
}
# Without the contrastive task: it compares the rows of a batch, of which each process has a part.
DISTILLED = {
    "recipe": "distillation",
    "kd_predictive_weight": 0.001,
    "epochs": 1,
}
SAMPLED = {"eval_args": {"mode": "uni9", "order": "TO", "split": {"LS": "valid_and_test"}}}
RUNS = {
    "CpRecNextItNet": ("CpRecNextItNet", {"ranks_path": "together.npz"}),
    "CpRecNextItNet, rows": ("CpRecNextItNet", {"training_targets": "last"}),
    "CpRecNextItNet, pointer": ("CpRecNextItNet", {"repeats": "pointer", "epochs": 1}),
    "CpRecNextItNet, sampled evaluation": ("CpRecNextItNet", {"epochs": 1, **SAMPLED}),
    "TTSASRec, distilled": ("TTSASRec", DISTILLED),
    "SASRec": ("SASRec", {"metrics": ["NDCG", "GAUC"], "valid_metric": "NDCG@10", "epochs": 1}),
    # Nothing to train, and so no gradients to share; Recency trains as Pop does.
    "Pop": ("Pop", {"epochs": 1}),
}
# One of each kind of trainer.
FEW = ["CpRecNextItNet", "CpRecNextItNet, pointer", "TTSASRec, distilled", "Pop"]


def run(model: str, settings: dict) -> tuple[dict, dict[str, torch.Tensor]]:
    """One run's results, and the weights that this process ends with."""
    made = []
    trainer_class = quick_start.trainer_class

    def keep(config):
        class Kept(trainer_class(config)):
            def __init__(self, config, network):
                made.append(network)
                super().__init__(config, network)

        return Kept

    quick_start.trainer_class = keep
    try:
        result = run_recbole_compress(model, "tiny", config_dict=settings)
    finally:
        quick_start.trainer_class = trainer_class
    return result, made[-1].state_dict()


def all_runs(data_path: str, names: list[str]) -> None:
    """Those of RUNS, then one that is interrupted and one that is not; each process writes."""
    results, weights = {}, {}
    for name in names:
        model, more = RUNS[name]
        settings = {**SETTINGS, **MODELS[model], **more, "data_path": data_path}
        results[name], weights[name] = run(model, settings)
    interrupted(data_path, results, weights)
    rank = here().rank
    Path(f"results{rank}.json").write_text(json.dumps(results, default=float))
    torch.save(weights, f"weights{rank}.pt")


def interrupted(data_path: str, results: dict, weights: dict) -> None:
    settings = {**SETTINGS, **MODELS["CpRecNextItNet"], "data_path": data_path, "epochs": 3}
    settings["embedding_dropout_prob"] = 0.4
    results["whole"], weights["whole"] = run("CpRecNextItNet", settings)
    with cut_at(1) as left:
        run("CpRecNextItNet", settings)
    gathered(left)  # the first process has written it
    settings["resume"] = left[0]
    results["resumed"], weights["resumed"] = run("CpRecNextItNet", settings)


def dies(way: str) -> None:
    """The second process ends in some way while the first waits for it."""
    Path(f"pid{here().rank}").write_text(str(os.getpid()))
    with joined(torch.device("cpu")):
        gathered(0)
        if here().rank == 1:
            if way == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if way == "mendable":
                raise TrainingError("the loss is nan")
            if way == "bug":
                raise ZeroDivisionError("a bug")
            os._exit(3)
        gathered(1)


def sleeps() -> None:
    Path(f"pid{here().rank}").write_text(str(os.getpid()))
    time.sleep(600)


def ranks() -> list[int]:
    with joined(torch.device("cpu")):
        return gathered(here().rank)
