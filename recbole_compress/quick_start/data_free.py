"""``--model=DFQ<Model>``: train or load <Model>, quantize it without data, evaluate it."""

from __future__ import annotations

import os
from typing import Any

import torch

from recbole_compress.config import Config
from recbole_compress.data.catalogue import Catalogue
from recbole_compress.data.item_vectors import state_will_be_loaded
from recbole_compress.distributed.place import started_by_torchrun
from recbole_compress.distributed.settings import KEYS_OF_A_LAUNCH
from recbole_compress.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    RecBoleCompressError,
)
from recbole_compress.quantization import check_quantizable
from recbole_compress.quick_start.evaluate import evaluate_file
from recbole_compress.quick_start.from_checkpoint import without_log
from recbole_compress.quick_start.host_models import trainer_class
from recbole_compress.quick_start.quantization_keys import KEYS_OF_QUANTIZATION
from recbole_compress.quick_start.quantize import quantize_checkpoint, quantized_path
from recbole_compress.reports.card import card_path_for
from recbole_compress.trainers.checkpoint import load_checkpoint
from recbole_compress.trainers.datafree_recipe import check_same_quantization
from recbole_compress.trainers.datafree_settings import DataFreeSettings
from recbole_compress.trainers.quantization_recipes import recipe_named
from recbole_compress.trainers.quantization_settings import file_limit, spec_of
from recbole_compress.trainers.random_state import untouched

__all__ = ["check_data_free", "quantized_and_evaluated"]

# Keys of this run that the full-precision model's checkpoint answers itself.
_OF_THE_MODEL = {"model", "dataset", "data_free_quantization", "full_precision_path", "resume"}
# Numbers of items and users of two catalogues that nobody has.
_MADE_UP = (1_009, 101), (2_503, 211)
# Keys of its training alone: the rest is done in one process.
_OF_ITS_TRAINING = {"nproc", *KEYS_OF_A_LAUNCH}


def check_data_free(config: Config, trains_here: bool = True) -> None:
    """Refuse, before anything is trained, what could not be quantized afterwards.

    Args:
        config: Of the run; not changed.
        trains_here: Whether this run trains the model unless it names a ``full_precision_path``.

    Raises:
        ConfigError: Settings of a quantization that is not asked for, or that cannot be; a model
            that cannot be made or asked without its data set.
        QuantizationError: Bits or granularities that there are not, groups that do not divide a
            width, overrides of nothing that the model has.
        CheckpointError: ``full_precision_path`` cannot be read or is of another model or data set.
    """
    name = config["model"]
    if not config["data_free_quantization"]:
        given = config.external_config_dict
        for key in sorted(given.keys() & KEYS_OF_QUANTIZATION):
            raise ConfigError(
                f"{key}={given[key]}: {name} is not quantized in this run; take --model=DFQ{name}, "
                "or recbole-compress quantize CHECKPOINT afterwards"
            )
        return
    spec_of(config)
    file_limit(config)
    recipe_named(config["quantization_recipe"])
    DataFreeSettings.of(config)
    if config["df_resume"]:
        check_same_quantization(config)
    if started_by_torchrun():
        raise ConfigError(
            f"model=DFQ{name}: under torchrun, train --model={name} and then run "
            "recbole-compress quantize CHECKPOINT"
        )
    path = config["full_precision_path"]
    if path is None and trains_here:  # a model that is there already is looked at soon enough
        _check_made_up(config)
    if path is not None:
        its = load_checkpoint(str(path))["config"]
        for key in ("model", "dataset"):
            if its[key] != config[key]:
                raise CheckpointError(
                    f"full_precision_path={path}: is of {key} {its[key]!r}, not {config[key]!r}"
                )


def _check_made_up(config: Config) -> None:
    """Refuse what could not be quantized with any catalogue; chance stays as it was.

    What is refused of one made-up catalogue may come of its size. So another size has to be refused
    in the same words; what depends on the real one is looked at once that is loaded.
    """
    # Where it is cheap, and takes no memory of a GPU.
    on_cpu = config.with_values(device=torch.device("cpu"))
    with untouched():
        refused = _refusal(on_cpu, *_MADE_UP[0])
        if refused is not None and str(refused) == str(_refusal(on_cpu, *_MADE_UP[1])):
            raise refused


def _refusal(config: Config, n_items: int, n_users: int) -> RecBoleCompressError | None:
    """Why a model of this config could not be quantized, or None."""
    trainer, name = trainer_class(config), config["model"]
    catalogue = Catalogue(config, n_items, n_users, n_items if trainer.needs_source else None)
    try:
        with without_log(), state_will_be_loaded():
            model = trainer.build_model(config, catalogue)
    except DataError as error:
        return ConfigError(
            f"model=DFQ{name}: {name} cannot be made without its data set ({error}), and what is "
            f"quantized is made from its checkpoint alone; take --model={name}"
        )
    except Exception:  # the run itself makes the model before it trains it, and says so
        return None
    try:
        with without_log():
            check_quantizable(model, spec_of(config))
            recipe_named(config["quantization_recipe"]).check(model.eval(), config)
    except RecBoleCompressError as error:
        return error
    return None


def quantized_and_evaluated(config: Config, full: dict[str, Any] | None) -> dict[str, Any]:
    """The second half of the run.

    Args:
        config: Of the run.
        full: Result of the training before; None where ``full_precision_path`` is given.

    Returns:
        As :func:`~recbole_compress.quick_start.quick_start.run_recbole_compress`.
    """
    # All of this run's, not only what it was given: the checkpoint's run may have had others.
    asked = {key: config[key] for key in KEYS_OF_QUANTIZATION}
    asked |= config.external_config_dict
    settings = {k: v for k, v in asked.items() if k not in {*_OF_THE_MODEL, *_OF_ITS_TRAINING}}
    # What an interruption leaves is no checkpoint of the full-precision training.
    settings["checkpoint_dir"] = os.path.join(str(config["checkpoint_dir"]), "quantization")
    path = str(full["checkpoint"] if full else config["full_precision_path"])
    # Beside what this run writes: a checkpoint that was given may belong to another one.
    out = os.path.join(config["checkpoint_dir"], quantized_path(os.path.basename(path)))
    try:
        # The path alone: models are not held while the file is evaluated.
        out = quantize_checkpoint(path, out, **settings).path
    except KeyboardInterrupt as interruption:
        how = f"--full_precision_path={path} {interruption}".strip()
        raise KeyboardInterrupt(how) from None
    card_path = settings.pop("card_path", None) or card_path_for(out)
    # Of the full-precision model; what the quantization took is a group of its own.
    training = full["card"]["training"] if full else None
    reference = full["card"]["metrics"] if full else None
    card = evaluate_file(out, card_path, training, reference, **settings)
    valid, test = card["metrics"]["valid"], card["metrics"]["test"]
    return {
        "best_valid_score": (valid or {}).get(config["valid_metric"].lower()),
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": valid,
        "test_result": test,
        "card": card,
        "card_path": card_path,
        "checkpoint": out,
        "full_precision": full,
    }
