"""A finished run, back from its checkpoint."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from recbole_compress.config import Config
from recbole_compress.data.item_vectors import state_will_be_loaded
from recbole_compress.quick_start.host_models import trainer_class
from recbole_compress.quick_start.pretraining import load_data
from recbole_compress.quick_start.quick_start import prepare_data
from recbole_compress.quick_start.resumption import settings_of
from recbole_compress.quick_start.sample_requests import sample_requests
from recbole_compress.trainers.checkpoint import load_checkpoint

__all__ = ["restored_model"]


def restored_model(checkpoint: str) -> tuple[Config, Any, tuple[Tensor, Tensor]]:
    """The config and the model of a run, with its best weights, and requests of its test split.

    Raises:
        RecBoleCompressError: The checkpoint or its data set cannot be read.
    """
    settings = settings_of({"resume": checkpoint}, None)
    config = Config(config_dict={**settings, "resume": None})
    train_data, _, test_data = prepare_data(config, load_data(config))
    with state_will_be_loaded():
        model = trainer_class(config).build_model(config, train_data._dataset)
    model = model.to(config["device"])
    state = load_checkpoint(checkpoint, config["device"])
    model.load_state_dict(state["state_dict"])
    model.load_other_parameter(state.get("other_parameter"))
    return config, model, sample_requests(test_data._dataset)
