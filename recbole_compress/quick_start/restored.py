"""A finished run, back from its checkpoint."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from recbole_compress.config import Config
from recbole_compress.data.loaders import split_of
from recbole_compress.quick_start.from_checkpoint import model_of, rebuilt_config
from recbole_compress.quick_start.prepared_data import prepare_data
from recbole_compress.quick_start.pretraining import load_data
from recbole_compress.quick_start.sample_requests import sample_requests
from recbole_compress.trainers.checkpoint import load_checkpoint

__all__ = ["restored_model"]


def restored_model(checkpoint: str) -> tuple[Config, Any, tuple[Tensor, Tensor]]:
    """The config and the model of a run, with its best weights, and requests of its test split
    (of the valid one where that has no rows).

    Raises:
        RecBoleCompressError: The checkpoint or its data set cannot be read.
    """
    state = load_checkpoint(checkpoint)
    config = rebuilt_config(state, checkpoint)
    train_data, valid_data, test_data = prepare_data(config, load_data(config))
    model = model_of(config, split_of(train_data), state, checkpoint).to(config["device"])
    return config, model, sample_requests(split_of(test_data), split_of(valid_data))
