"""From a trainer without data to a recipe: original and quantized copy, trained, handed back."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from recbole_compress.data.loaders import split_of
from recbole_compress.data.train_sequences import train_sequences
from recbole_compress.datafree import Sequences, sample_sequences
from recbole_compress.distributed.settings import world_size_of
from recbole_compress.errors import CheckpointError, ConfigError
from recbole_compress.models.compressed_recommender import has_one_catalogue
from recbole_compress.quantization import ActivationQuantizer, calibrating, quantize_
from recbole_compress.readers import SequenceReader, as_reader, reader_like
from recbole_compress.readers.trial import Trial
from recbole_compress.trainers.checkpoint import load_checkpoint
from recbole_compress.trainers.datafree_settings import DataFreeSettings
from recbole_compress.trainers.datafree_trainer import DataFreeTrainer
from recbole_compress.trainers.quantization_job import QuantizationJob, QuantizationWork
from recbole_compress.trainers.quantization_settings import SPEC_KEYS

__all__ = ["check_same_quantization", "readable_by", "start_again_", "trained_by"]

# Sequences scored together while ranges are found.
_BATCH = 64
# Beside the grids, what a training cannot change on its way.
_BEGUN_WITH = ("quantization_recipe", "quantization_max_bytes", "df_start", "df_objective")


def trained_by(trainer: type[DataFreeTrainer]) -> Callable[[QuantizationJob], QuantizationWork]:
    """A recipe for :data:`~recbole_compress.trainers.quantization_recipes.QUANTIZATION_RECIPES`.

    Args:
        trainer: Its class; gets the train sequences only if it says that it reads data.
    """

    def quantize(job: QuantizationJob) -> QuantizationWork:
        config, student = job.config, job.model
        _refuse_two_catalogues(trainer, student)
        settings = DataFreeSettings.of(config)
        if world_size_of(config.final_config_dict) > 1:
            raise ConfigError(
                f"nproc={config['nproc']}: the data-free recipes run in one process; leave it out"
            )
        if config["df_resume"]:
            check_same_quantization(config)
        arguments: dict[str, Any] = {"item_map_sha256": job.item_map_sha256}
        if trainer.reads_data:
            assert job.train_data is not None  # its recipe says that it needs data
            split = split_of(job.train_data())
            arguments["real"] = Sequences(*train_sequences(split, student.max_seq_length))
        teacher = copy.deepcopy(student)
        if config["df_start"] == "random":
            assert job.drawn_again is not None
            start_again_(student, job.drawn_again())
        spec = dataclasses.replace(job.spec, learn_steps=True)
        report = quantize_(student, spec)
        n_shown = 0
        if job.spec.activation_range == "static":
            n_shown = config["calibration_sequences"]
            # Where weights are random, what is to come of them shows the ranges.
            trained = student if config["df_start"] == "teacher" else copy.deepcopy(teacher)
            if trained is not student:
                quantize_(trained, spec)
            reader = as_reader(teacher)
            sampled = sample_sequences(reader, n_shown, settings.sampling)
            asked = reader_like(reader, trained)
            with torch.no_grad(), calibrating(trained):
                for start in range(0, n_shown, _BATCH):
                    ends = asked.ends(sampled.take(slice(start, start + _BATCH)))
                    ends.scores(ends.states)
            _take_ranges_(student, trained)
        done = trainer(config, student, teacher, **arguments)
        try:
            done.fit(verbose=True, saved=True)
        except KeyboardInterrupt:
            begun = os.path.exists(done.saved_model_file)  # there is nothing before the first save
            how = f"--df_resume={done.saved_model_file}" if begun else ""
            raise KeyboardInterrupt(how) from None
        except ConfigError:  # what cannot be carried out leaves nothing behind
            if not config["df_resume"] and os.path.exists(done.saved_model_file):
                os.unlink(done.saved_model_file)
            raise
        n_shown += done.epochs_done * settings.n_sequences
        return QuantizationWork(
            report,
            done.epochs_done,
            n_shown,
            done.seconds_before,
            done.saved_model_file,
            done.generator_model,
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
        settings, trial = DataFreeSettings.of(config), Trial(model)
        with torch.no_grad():
            _ = trial.expected  # what the way of reading it is then chosen by
        if model.max_seq_length < 2 and trainer.asks_what_follows(settings):
            raise ConfigError(
                f"MAX_ITEM_LIST_LENGTH={model.max_seq_length}: no item follows another in what "
                f"{type(model).__name__} reads, and the discrepancy is of those; take "
                "--recipe=self_sample with df_objective=divergence"
            )
        if trainer.asks_item_vectors(settings):
            _ = SequenceReader(model).embedding
        if trainer.asks_vectors_as_read(settings):
            reader = as_reader(model)
            with torch.no_grad():
                reader.read_with_vectors(reader.places(trial.sequences))

    return check


def _refuse_two_catalogues(trainer: type[DataFreeTrainer], model: Any) -> None:
    if not has_one_catalogue(model):
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


@torch.no_grad()
def start_again_(model: nn.Module, drawn: nn.Module) -> None:
    """Random weights in place, as the model's own class draws them.

    Args:
        model: Loses every number that was trained. Buffers stay: which row an item has, for
            instance, is no weight.
        drawn: The same model, newly made.
    """
    fresh = dict(drawn.named_parameters())
    for name, parameter in model.named_parameters():
        parameter.copy_(fresh[name])


def _take_ranges_(model: nn.Module, calibrated: nn.Module) -> None:
    """Static ranges of the same model, quantized alike."""
    for own, other in zip(model.modules(), calibrated.modules(), strict=True):
        if isinstance(own, ActivationQuantizer):
            own.load_state_dict(other.state_dict())
