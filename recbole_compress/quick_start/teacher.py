"""The teacher of a run: trained first or read from a checkpoint, never of other items."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from recbole_compress.config import Config
from recbole_compress.config.model_names import find_model
from recbole_compress.config.properties_folder import RECBOLE_PROPERTIES
from recbole_compress.config.schema import declared_in, load_schema
from recbole_compress.data.split_rows import rows_fingerprint
from recbole_compress.distributed.group import from_first
from recbole_compress.distributed.place import here
from recbole_compress.errors import CheckpointError, ConfigError
from recbole_compress.quick_start.first_phase import (
    OF_THE_RUN,
    first_phase_config,
    run_first_phase,
    settings_of_checkpoint,
    wanted_settings,
)
from recbole_compress.quick_start.from_checkpoint import model_of
from recbole_compress.quick_start.host_models import trainer_class
from recbole_compress.quick_start.quantization_keys import KEYS_OF_QUANTIZATION
from recbole_compress.quick_start.stock_teacher import check_stock_teacher
from recbole_compress.trainers.checkpoint import knows_other_items, load_checkpoint
from recbole_compress.trainers.distillation_settings import DistillationSettings
from recbole_compress.trainers.masked_sequences import refuse_masking_nothing
from recbole_compress.trainers.teachers_weights import check_can_begin_as

__all__ = ["check_teacher", "load_teacher", "train_teacher"]

# What a teacher is unless its settings say otherwise: the uncompressed counterpart.
UNCOMPRESSED = {"item_embedding": "dense", "item_head": "tied", "layer_sharing": "none"}
# What is quantized afterwards is the student.
_OF_THE_STUDENT = {*KEYS_OF_QUANTIZATION, "data_free_quantization"}
_NOT_SHARED = {*OF_THE_RUN, *_OF_THE_STUDENT, "teacher", "teacher_path"}
_LONGEST = "MAX_ITEM_LIST_LENGTH"


def check_teacher(config: Config) -> None:
    """Refuse, before anything is trained, a teacher that cannot be had or is not asked for.

    Raises:
        ConfigError: Settings that contradict each other or that the teacher's model does not know;
            a model that cannot say what it will be asked.
        CheckpointError: ``teacher_path`` cannot be read.
    """
    path, settings = config["teacher_path"], config["teacher"]
    trainer = trainer_class(config)
    trainer.check_settings(config)
    if not trainer.needs_teacher:
        for key in ("teacher_path", "teacher"):
            if config[key] is not None:
                raise ConfigError(
                    f"{key}={config[key]}: recipe={config['recipe']} has no teacher; add "
                    "--recipe=distillation, or leave it out"
                )
        return
    if path is not None and settings is not None and not config["resume"]:
        raise ConfigError(f"teacher_path={path}, teacher={settings}: give one of them")
    if path is None:
        its_config = teacher_config(config)
        _check_fit("teacher", its_config, config)
        check_stock_teacher(its_config, DistillationSettings.of(config).recombines)
    elif here().is_first:  # the file may lie on its machine only
        load_checkpoint(str(path))


def teacher_config(config: Config, resume: str | None = None) -> Config:
    """The settings of a teacher that is trained in the run of ``config``.

    The teacher takes every key given to the student that its own model knows, is uncompressed, and
    has what ``teacher`` says on top of that.

    Raises:
        ConfigError: What ``teacher`` says cannot be used.
    """
    given = config.external_config_dict
    wanted = wanted_settings(config, "teacher")
    model, dataset = wanted.pop("model", config["model"]), config["dataset"]
    if not isinstance(model, str):
        raise ConfigError(f"teacher: model={model!r}: expected the name of a model, such as SASRec")
    shared = {k: v for k, v in given.items() if k not in _NOT_SHARED and not k.startswith("kd_")}
    of_the_data = set(declared_in(RECBOLE_PROPERTIES / "dataset" / "sample.yaml")) - {_LONGEST}
    for key in sorted({*_NOT_SHARED, *of_the_data, "eval_args", "data_path"} & set(wanted)):
        raise ConfigError(f"teacher: {key}={wanted[key]!r} belongs to the run, not to its teacher")
    try:
        known = load_schema(model, dataset, find_model(model))
        inherited = {k: v for k, v in {**shared, **UNCOMPRESSED}.items() if k in known}
        settings = {**inherited, **wanted}
        its_config = first_phase_config(config, model, dataset, settings, "teacher", resume)
        refuse_masking_nothing(its_config)
    except ConfigError as error:
        raise ConfigError(f"teacher: {error}") from error
    return its_config


def train_teacher(config: Config, train: Callable[[Config], dict[str, Any]]) -> str | None:
    """See to it that ``config["teacher_path"]`` is a finished teacher, where a teacher is needed.

    Args:
        config: Of the student; changed.
        train: Trains what a config says and returns the result, with its ``checkpoint``.

    Returns:
        The teacher's checkpoint, where this run trained it.
    """
    if not trainer_class(config).needs_teacher:
        return None
    return run_first_phase(config, "teacher_path", "teacher", teacher_config, train)


def load_teacher(config: Config, train_split: Any) -> Any:
    """The teacher's model with its best weights, or None where none is needed.

    Args:
        config: Of the student.
        train_split: The student's.

    Raises:
        CheckpointError: A teacher of other items or trained on other rows, or one that cannot be
            made from its checkpoint.
        ConfigError: A teacher that reads shorter sequences than the student, of another split, or
            whose scores are no logits.
    """
    if not trainer_class(config).needs_teacher:
        return None
    path = str(config["teacher_path"])
    state = from_first(lambda: load_checkpoint(path))
    if (noted := state.get("item_map_sha256")) is None:
        raise CheckpointError(
            f"teacher_path={path}: does not say which items it knows, as no file of RecBole's own "
            "trainers does; train the teacher with recbole-compress, --model and --dataset as then"
        )
    if knows_other_items(noted, train_split, unknown=True):
        raise CheckpointError(
            f"teacher_path={path}: knows the items of data set {state['config']['dataset']!r}, not "
            f"those of {config['dataset']!r} as loaded here; train a teacher on the same data set "
            "with the same filters"
        )
    settings = settings_of_checkpoint(state, config)
    # Config appends the data set's name to its folder's.
    settings |= {"dataset": config["dataset"], "data_path": os.path.dirname(config["data_path"])}
    its_config = Config(config_dict=settings)
    _check_fit(f"teacher_path={path}", its_config, config)
    # Files of before do not say on which rows they were trained.
    if state.get("train_rows_sha256") not in (None, rows_fingerprint(train_split)):
        raise CheckpointError(
            f"teacher_path={path}: trained on other rows than those of the train split here, which "
            "may hold what the student is tested on; train it on the same files with the same "
            "filters (val_interval, rm_dup_inter and the like)"
        )
    return model_of(its_config, train_split, state, f"teacher_path={path}")


def _check_fit(name: str, its_config: Config, config: Config) -> None:
    """Refuse a teacher that reads less than the student, has seen what that is tested on, says no
    more than an order, or cannot be begun with where that is asked for."""
    check_can_begin_as(its_config.model_class, its_config["embedding_size"], config, name)
    if getattr(its_config.model_class, "scores_only_order", False):
        raise ConfigError(
            f"{name}: the scores of {its_config['model']} only order the items, they are no logits "
            "that soft targets can be made of; take a model that learns, such as SASRec"
        )
    if its_config[_LONGEST] < config[_LONGEST]:
        raise ConfigError(
            f"{name}: reads sequences of {its_config[_LONGEST]} items, the student "
            f"{config[_LONGEST]}; take --{_LONGEST}={its_config[_LONGEST]}, or another teacher"
        )
    if _split(its_config) != _split(config):
        raise ConfigError(
            f"{name}: trained on another split ({_split(its_config)}, not {_split(config)}), which "
            "may hold what the student is tested on; train it with the same eval_args"
        )


def _split(config: Config) -> dict[str, Any]:
    arguments = config["eval_args"]
    split = {key: arguments[key] for key in ("split", "group_by", "order")}
    return {**split, "seed": config["seed"]} if split["order"] == "RO" else split
