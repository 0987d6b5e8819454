"""From a trainer without data to a recipe: original and quantized copy, trained, handed back."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from recbole_compress.data.train_sequences import train_sequences
from recbole_compress.datafree import Sequences, sample_sequences
from recbole_compress.distributed.settings import world_size_of
from recbole_compress.errors import CheckpointError, ConfigError
from recbole_compress.quantization import calibrating, quantize_
from recbole_compress.readers import SequenceReader, as_reader, reader_like
from recbole_compress.readers.trial import Trial
from recbole_compress.trainers.checkpoint import load_checkpoint
from recbole_compress.trainers.datafree_settings import DataFreeSettings
from recbole_compress.trainers.datafree_trainer import DataFreeTrainer
from recbole_compress.trainers.quantization_settings import SPEC_KEYS
from recbole_compress.trainers.quantization_work import QuantizationWork

__all__ = ["check_same_quantization", "readable_by", "start_again_", "trained_by"]

# Beside the grids, what a training cannot change on its way.
_BEGUN_WITH = ("quantization_recipe", "df_start", "df_objective")


def trained_by(trainer: type[DataFreeTrainer]) -> Callable[[Any], QuantizationWork]:
    """A recipe for :data:`~recbole_compress.trainers.quantization_recipes.QUANTIZATION_RECIPES`.

    Args:
        trainer: Its class; gets the train sequences only if it says that it reads data.
    """

    def quantize(job: Any) -> QuantizationWork:
        config, student = job.config, job.model
        _refuse_two_catalogues(trainer, student)
        settings = DataFreeSettings.of(config)
        if world_size_of(config.final_config_dict) > 1:
            raise ConfigError(
                f"nproc={config['nproc']}: the data-free recipes run in one process; leave it out"
            )
        if config["df_resume"]:
            check_same_quantization(config)
        arguments: dict[str, Any] = {}
        if trainer.reads_data:
            split = job.train_data()._dataset
            arguments["real"] = Sequences(*train_sequences(split, student.max_seq_length))
        teacher = copy.deepcopy(student)
        if config["df_start"] == "random":
            start_again_(student)
        report = quantize_(student, dataclasses.replace(job.spec, learn_steps=True))
        n_shown = 0
        if job.spec.activation_range == "static":
            n_shown = config["calibration_sequences"]
            reader = as_reader(teacher)
            sampled = sample_sequences(reader, n_shown, settings.sampling)
            with torch.no_grad(), calibrating(student):
                asked = reader_like(reader, student).ends(sampled)
                asked.scores(asked.states)
        done = trainer(config, student, teacher, **arguments)
        try:
            done.fit(verbose=True, saved=True)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"--df_resume={done.saved_model_file}") from None
        n_shown += done.epochs_done * settings.n_sequences
        return QuantizationWork(
            report, done.epochs_done, n_shown, done.seconds_before, done.saved_model_file
        )

    return quantize


def readable_by(trainer: type[DataFreeTrainer]) -> Callable[[Any, Any], None]:
    """What :func:`trained_by` refuses, for the recipe of it: models that cannot be asked.

    Args:
        trainer: Its class.

    Returns:
        Of a model in evaluation mode and a config; raises a ``ConfigError``.
    """

    def check(model: Any, config: Any) -> None:
        _refuse_two_catalogues(trainer, model)
        with torch.no_grad():
            _ = Trial(model).expected  # what the way of reading it is then chosen by
        if trainer.asks_item_vectors(DataFreeSettings.of(config)):
            _ = SequenceReader(model).embedding

    return check


def _refuse_two_catalogues(trainer: type[DataFreeTrainer], model: Any) -> None:
    if not getattr(model, "one_catalogue", True):
        raise ConfigError(
            f"quantization_recipe={trainer.recipe}: {type(model).__name__} reads other items "
            "than it recommends, so no sequences can be made with it; take ptq"
        )


def check_same_quantization(config: Any) -> None:
    """Refuse to go on with a training of other grids, or of another recipe.

    Raises:
        CheckpointError: ``df_resume`` is no checkpoint, or was begun with other settings.
    """
    path = config["df_resume"]
    state = load_checkpoint(str(path))
    if not any("parametrizations." in name for name in state["state_dict"]):
        raise CheckpointError(
            f"df_resume={path}: its model is not being quantized; give the file that the "
            "interrupted training named"
        )
    begun = state["config"]
    for key in (*SPEC_KEYS, *_BEGUN_WITH):
        if begun[key] != config[key]:
            raise CheckpointError(
                f"df_resume={path}: was begun with {key}={begun[key]!r}, not {config[key]!r}; "
                f"add --{key}={begun[key]}"
            )


def start_again_(model: nn.Module) -> None:
    """Random weights in place, drawn as the model's own class draws them.

    Args:
        model: RecBole's classes have ``_init_weights`` or leave it to torch's modules.
    """
    with torch.no_grad():
        for module in model.modules():
            reset = getattr(module, "reset_parameters", None) or getattr(
                module, "_reset_parameters", None
            )
            if callable(reset):
                reset()
        own = getattr(model, "_init_weights", None)
        if callable(own):
            model.apply(own)
        table = getattr(model, "item_embedding", None)
        if isinstance(table, nn.Embedding):
            table.weight[0] = 0.0
