"""Experiments of ``recbole-compress compare`` that are over in a moment."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from recbole_compress.comparison import runs
from recbole_compress.quick_start.command_line import main

SHARED = {
    "epochs": 1,
    "MAX_ITEM_LIST_LENGTH": 6,
    "train_batch_size": 64,
    "threads": 1,
    "metrics": ["NDCG", "Hit", "MRR"],
    "topk": [5, 10],
    "valid_metric": "NDCG@10",
    "embedding_dropout_prob": 0.3,  # of our models only
}
RUNS = {
    "ours, small": {"model": "CpRecGRU4Rec", "embedding_size": 8, "hidden_size": 8},
    "gru": {"model": "GRU4Rec", "embedding_size": 8, "hidden_size": 8},
    "Pop": {"model": "Pop", "seeds": [1]},
}


def write_experiment(folder, **more):
    document = {
        "about": "Small models on few data.",
        "shared": {**SHARED, "data_path": str(folder / "data"), **more.pop("shared", {})},
        "datasets": ["tiny"],
        "seeds": [1, 2],
        "runs": RUNS,
        "reference": "gru",
        **more,
    }
    (folder / "exp.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return str(folder / "exp.yaml")


def run_here(monkeypatch):
    """Runs happen in this process from now on; the list tells which were started."""
    names = []

    def run(self, command, log):
        arguments = command[len(runs.COMMAND) :]
        (card,) = [a for a in arguments if a.startswith("--card_path=")]
        names.append(Path(card).name.removesuffix(".card.json"))
        return main(arguments)

    monkeypatch.setattr(runs._Children, "run", run)
    return names


def document_in(folder):
    return json.loads((folder / "runs/compare/exp/comparison.json").read_text())
