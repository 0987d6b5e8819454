"""The data set and the trained model that ``benchmarks.evaluation`` measures with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from recbole.utils import get_model, init_seed

from benchmarks.synthetic import ZipfCatalogue
from recbole_compress.config import Config
from recbole_compress.data import SequenceDataset, training_loader
from recbole_compress.data.loaders import split_of
from recbole_compress.files import replacing
from recbole_compress.quick_start.prepared_data import prepare_data
from recbole_compress.trainers import CompressTrainer

__all__ = ["LENGTH", "NAME", "load", "measure", "write_atomic_files"]

NAME = "synthetic"
LENGTH = 12  # interactions per user: ten to train on, one to validate, one to test
WEIGHTS = "weights.pth"


def measure(
    n_items: int, n_users: int, epochs: int, seed: int, threads: int, folder: str
) -> dict[str, Any]:
    """Write atomic files and the weights of a model trained on them into ``folder``."""
    write_atomic_files(Path(folder), ZipfCatalogue(n_items, seed=seed), n_users)
    model, (train_data, *_), config = load(folder, {"seed": seed, "learning_rate": 0.01})
    loader = training_loader(train_data, config, torch.Generator().manual_seed(seed))
    trainer = CompressTrainer(config, model)
    loss = float("nan")
    for epoch in range(epochs):
        loss = trainer._train_epoch(loader, epoch) / len(loader)
    with replacing(str(Path(folder, WEIGHTS)), "wb") as file:
        torch.save(model.state_dict(), file)
    return {"train_loss": loss}


def write_atomic_files(folder: Path, catalogue: ZipfCatalogue, n_users: int) -> None:
    """``NAME.inter``, and ``NAME.item`` with the whole catalogue, bought or not."""
    target = folder / NAME
    target.mkdir()
    sequences = catalogue.draw(n_users, LENGTH).tolist()
    with open(target / f"{NAME}.inter", "w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for user, items in enumerate(sequences):
            file.writelines(f"{user}\t{item}\t{moment}\n" for moment, item in enumerate(items))
    with open(target / f"{NAME}.item", "w", encoding="utf-8") as file:
        file.write("item_id:token\n")
        file.writelines(f"{item}\n" for item in range(1, catalogue.n_items + 1))


def load(folder: str, settings: dict[str, Any]) -> tuple[Any, tuple[Any, ...], Config]:
    """The model, with its weights once it has been trained; the three loaders; the config."""
    config = Config(
        "CpRecNextItNet",
        NAME,
        config_dict={
            "data_path": folder,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
            "MAX_ITEM_LIST_LENGTH": LENGTH,
            "topk": [5, 10],
            "metric_decimal_place": 16,
            **settings,
        },
    )
    init_seed(config["seed"], config["reproducibility"])
    loaders = prepare_data(config, SequenceDataset(config))
    model = get_model(config["model"])(config, split_of(loaders[0]))
    weights = Path(folder, WEIGHTS)
    if weights.exists():
        model.load_state_dict(torch.load(weights, weights_only=True))
    return model, loaders, config
