"""A model, made again from its checkpoint: with its data set or without."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from recbole_compress.config import Config
from recbole_compress.config.given import with_config_files
from recbole_compress.config.model_names import class_name, know_classes
from recbole_compress.data.catalogue import Catalogue
from recbole_compress.data.item_vectors import state_will_be_loaded
from recbole_compress.errors import CheckpointError
from recbole_compress.models import CompressedRecommender
from recbole_compress.quantization import packed_structure_
from recbole_compress.quick_start.host_models import trainer_class
from recbole_compress.quick_start.resumption import given_to
from recbole_compress.trainers.checkpoint import load_checkpoint

__all__ = [
    "OF_ITS_RUN",
    "Restored",
    "made_anew",
    "model_alone",
    "model_of",
    "rebuilt_config",
    "settings_of_model",
    "without_log",
    "writing_beside",
]

# Numbers of items and users that no other dimension of a model is likely to have.
_PROBE_ITEMS, _PROBE_USERS = 1_009, 2_003
# Of the run that made a checkpoint, not of what it made.
OF_ITS_RUN = (
    *("resume", "df_resume", "part_of", "nproc", "train_time_limit"),
    *("card_path", "ranks_path"),
)


class Restored(NamedTuple):
    """A model back from its checkpoint.

    Attributes:
        config: The settings it was made with.
        model: With its weights, in evaluation mode.
        state: All that the checkpoint holds.
        catalogue: How many items and users there are.
    """

    config: Config
    model: Any
    state: dict[str, Any]
    catalogue: dict[str, int]


def rebuilt_config(state: Mapping[str, Any], path: str, /, **differing: Any) -> Config:
    """The settings that a checkpoint was made with, and what differs from them now.

    Args:
        state: What the checkpoint holds.
        path: For messages.
        differing: Settings, ``config_files`` among them; None takes one back to its default.

    Raises:
        CheckpointError: Its settings cannot be read any more.
        ConfigError: What differs cannot be used; a model that is not known here.
    """
    try:
        settings = settings_of_model(state)
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: its settings cannot be read ({type(error).__name__}: {error})"
        ) from error
    differing = with_config_files(differing)
    named = differing.pop("model", settings["model"])
    settings = {**settings, **differing}
    if isinstance(named, type) or ":" in named:
        [named] = know_classes(named)
    if class_name(named) != settings["model"]:
        raise CheckpointError(f"{path}: is of {settings['model']}, not of {named}")
    return Config(config_dict={key: v for key, v in settings.items() if v is not None})


def writing_beside(path: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings for what is made of a checkpoint: nothing is written where its own run wrote.

    That may have been another machine. What the settings say of it, or files that they name, holds.
    """
    return {"checkpoint_dir": os.path.dirname(path) or os.curdir, **with_config_files(settings)}


def settings_of_model(state: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint's run was told, without what concerned that run alone."""
    return {k: v for k, v in given_to(state["config"]).items() if k not in OF_ITS_RUN}


def model_of(config: Config, dataset: Any, state: Mapping[str, Any], path: str) -> Any:
    """The model of a checkpoint, quantized or not, with its weights.

    Args:
        config: From :func:`rebuilt_config`.
        dataset: The train split that it was made for, or a
            :class:`~recbole_compress.data.catalogue.Catalogue`.
        state: What the checkpoint holds.
        path: For messages.

    Raises:
        CheckpointError: The checkpoint does not fit its own settings, or needs more than is there.
    """
    try:
        if issubclass(config.model_class, CompressedRecommender):
            found = config.model_class.settings_of_shapes(_shapes(state))
            config.final_config_dict.update(found)
        with state_will_be_loaded():
            model = trainer_class(config).build_model(config, dataset)
        if "quantization" in state:
            packed_structure_(model, state["quantization"])
        model.load_state_dict(state["state_dict"])
    except (KeyError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path}: {config['model']} cannot be made from it ({reason})"
        ) from error
    model.load_other_parameter(state.get("other_parameter"))
    return model


def made_anew(config: Config, catalogue: Mapping[str, int]) -> Any:
    """A model of these settings, its weights drawn as its class draws them.

    Args:
        config: Of a :class:`Restored` model.
        catalogue: Its, too.
    """
    with without_log(), state_will_be_loaded():
        return trainer_class(config).build_model(config, Catalogue(config, **catalogue))


def model_alone(path: str, /, **differing: Any) -> Restored:
    """A model from nothing but its checkpoint: no data set is looked for.

    Args:
        path: A checkpoint of this package or of RecBole, quantized or not.
        differing: Settings for now, such as ``use_gpu=False``.

    Raises:
        CheckpointError: Missing, damaged, holding more than data, without an item table, or of a
            model that needs more of its data set than how many items and users it has.
        ConfigError: A model or a setting that is not known here.
    """
    state, differing = load_checkpoint(path), with_config_files(differing)
    config = rebuilt_config(state, path, **{"split_files": "never", **differing})
    with without_log():
        catalogue = _catalogue(config, state, path)
        model = model_of(config, Catalogue(config, **catalogue), state, path)
    # What is written from here on belongs to the data set as it was split, not to none.
    asked = {**settings_of_model(state), **differing}.get("split_files")
    config.external_config_dict.pop("split_files")
    if asked is not None:
        config.external_config_dict["split_files"] = asked
    return Restored(config, model.to(config["device"]).eval(), state, catalogue)


def _catalogue(config: Config, state: Mapping[str, Any], path: str) -> dict[str, int]:
    """How many items and users: as noted in the checkpoint, or as its tensors' shapes say."""
    noted = state.get("catalogue")
    if noted:
        return {key: int(value) for key, value in noted.items()}
    shapes = _shapes(state)
    try:
        with state_will_be_loaded():
            probe = config.model_class(config, Catalogue(config, _PROBE_ITEMS, _PROBE_USERS))
    except (KeyError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        what = "it needs more of its data set than a checkpoint holds"
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(
            f"{path}: {config['model']} cannot be made, {what} ({reason})"
        ) from error
    found = {"n_items": 0, "n_users": 2}
    for name, tensor in probe.state_dict().items():
        for here, there in zip(tensor.shape, shapes.get(name, ()), strict=False):
            for key, probed in (("n_items", _PROBE_ITEMS), ("n_users", _PROBE_USERS)):
                if here in (probed - 1, probed, probed + 1):  # without padding, with a mask token
                    found[key] = there - (here - probed)
    if not found["n_items"]:
        raise CheckpointError(
            f"{path}: has no item table: no tensor of {config['model']} in it has a row per item"
        )
    return found


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Of the full-precision parameters and buffers, by name."""
    weights = state["state_dict"]
    if not isinstance(weights, Mapping):
        return {}
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in weights.items()
        if isinstance(tensor, torch.Tensor) and "parametrizations." not in name
    }
    described = state.get("quantization") or {}
    packed = described.get("parameters", {}) if isinstance(described, Mapping) else {}
    return {**shapes, **{name: tuple(entry["shape"]) for name, entry in packed.items()}}


class without_log:
    """Silences constructor warnings, which were logged during training."""

    def __enter__(self) -> None:
        self.level = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self.level)
