"""The pre-training of a transfer: done first or read from a checkpoint, and its data set."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from recbole.utils.argument_list import training_arguments

from recbole_compress.config import Config
from recbole_compress.config.model_names import find_model
from recbole_compress.config.properties_folder import model_yaml
from recbole_compress.config.schema import declared_in, load_schema
from recbole_compress.data.transfer_dataset import TransferDataset, refuse_scaled_times
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
from recbole_compress.quick_start.host_models import dataset_class, trainer_class
from recbole_compress.quick_start.prepared_data import loading
from recbole_compress.reports.card import card_path_for
from recbole_compress.reports.size import count_storage
from recbole_compress.trainers.checkpoint import knows_other_items, load_checkpoint

__all__ = ["check_pretraining", "load_data", "load_pretrained", "pretrain", "pretraining_report"]

# What only the fine-tuning knows.
_OF_TRANSFER = {
    *("source_dataset", "pretrained", "pretraining", "pretrain", "fine_tune", "adapter_size"),
    *("transfer_loss", "target_head", "source_history", "target_split", "split_seed"),
    *("sampled_candidates", "eval_args"),
}
_LONGEST = "MAX_ITEM_LIST_LENGTH"
# In a model's yaml file, but no matter of its form: the two phases may differ in them.
_OF_TRAINING = {
    *("loss_type", "train_neg_sample_args", "train_batch_size", "initializer_range"),
    *("embedding_dropout_prob", "hidden_dropout_prob", "attn_dropout_prob", "dropout_prob"),
}
# What a pre-training that is not done does not read; all else may be of the source's data set.
_OF_ITS_TRAINING = {*training_arguments, "valid_metric", "metrics", "topk", "eval_batch_size"}


def check_pretraining(config: Config) -> None:
    """Refuse, before anything is trained, a pre-training that cannot be had or is not asked for.

    Raises:
        ConfigError: Settings that contradict each other or that the pre-training does not know.
        CheckpointError: ``pretrained`` cannot be read.
    """
    path, source = config["pretrained"], config["source_dataset"]
    if not trainer_class(config).needs_source:
        for key in ("source_dataset", "pretrained", "pretraining"):
            if config[key] is not None:
                raise ConfigError(
                    f"{key}={config[key]}: recipe={config['recipe']} has no source; add "
                    "--recipe=transfer, or leave it out"
                )
        return
    if not config["pretrain"] and path is not None:
        raise ConfigError(f"pretrain=False, pretrained={path}: give one of them")
    unread = sorted(_OF_ITS_TRAINING & set(wanted_settings(config, "pretraining")))
    if not config["pretrain"] and unread and not config["resume"]:
        raise ConfigError(
            f"pretrain=False, pretraining={config['pretraining']}: nothing is pre-trained, so "
            f"{', '.join(unread)} would not be read; leave it out, or take --pretrain=True"
        )
    if path is not None and config["pretraining"] is not None and not config["resume"]:
        raise ConfigError(
            f"pretrained={path}, pretraining={config['pretraining']}: give one of them"
        )
    if path is not None:
        if here().is_first:  # the file may lie on its machine only
            path = _pretrained_in(str(path))
            state = load_checkpoint(path)
            _form(config, path, state)
            refuse_scaled_times(config, state["config"])
    elif source is None:
        raise ConfigError(
            "recipe=transfer: pre-trained on what? Add --source_dataset=NAME, or "
            "--pretrained=CHECKPOINT"
        )
    else:
        its_config = pretraining_config(config)
        if source != config["dataset"]:
            refuse_scaled_times(config, its_config)
    if source == config["dataset"]:
        raise ConfigError(
            f"source_dataset={source}: is the target itself; recbole-compress split-domains makes "
            "two data sets of one"
        )


def pretraining_config(config: Config, resume: str | None = None) -> Config:
    """The settings of the pre-training that is done in the run of ``config``.

    It is a usual training of the same model on the source, with every key given to the run that is
    not the fine-tuning's alone, and what ``pretraining`` says on top of that.

    Raises:
        ConfigError: What ``pretraining`` says cannot be used.
    """
    wanted = wanted_settings(config, "pretraining")
    model, dataset = config["model"], config["source_dataset"]
    for key in sorted(
        {*OF_THE_RUN, *_OF_TRANSFER - {"eval_args"}, *_keys_of_form(model)} & set(wanted)
    ):
        raise ConfigError(
            f"pretraining: {key}={wanted[key]!r} belongs to the run, not to its pre-training"
        )
    given = config.external_config_dict
    try:
        known = load_schema(model, dataset, find_model(model))
        shared = {
            key: value
            for key, value in given.items()
            if key in known and key not in {*OF_THE_RUN, *_OF_TRANSFER}
        }
        settings = {**shared, **wanted}
        return first_phase_config(config, model, dataset, settings, "pretraining", resume)
    except ConfigError as error:
        raise ConfigError(f"pretraining: {error}") from error


def pretrain(config: Config, train: Callable[[Config], dict[str, Any]]) -> str | None:
    """See to it that ``config["pretrained"]`` is a finished pre-training, where one is needed.

    Args:
        config: Of the fine-tuning; changed. It takes over the form of the pre-trained model.
        train: Trains what a config says and returns the result, with its ``checkpoint``.

    Returns:
        The checkpoint of the pre-training, where this run did it.
    """
    if not trainer_class(config).needs_source or not config["pretrain"]:
        return None
    made = run_first_phase(config, "pretrained", "pretraining", pretraining_config, train)

    def taken_over() -> dict[str, Any]:
        path = _pretrained_in(str(config["pretrained"]))
        return {**_form(config, path, load_checkpoint(path)), "pretrained": path}

    decided = from_first(taken_over)
    for settings in (config.final_config_dict, config.external_config_dict):
        settings.update(decided)
    return made


def load_data(config: Config) -> Any:
    """The data set of a run, not yet split; joined to its source where it has one."""
    with loading(config):
        return _loaded(config)


def _loaded(config: Config) -> Any:
    if not trainer_class(config).needs_source:
        return dataset_class(config)(config)
    if config["pretrained"] is None:
        source_config = pretraining_config(config)
    else:
        path = str(config["pretrained"])
        state = from_first(lambda: _with_source_settings(path))
        settings = settings_of_checkpoint(state, config)
        folder = config.external_config_dict.get("data_path")
        if folder is not None and os.path.isdir(os.path.join(folder, settings["dataset"])):
            settings["data_path"] = folder  # moved with the target; else where it was
        source_config = Config(config_dict=settings)
    source = dataset_class(source_config)(source_config)
    return TransferDataset(config, source.build()[0])


def _with_source_settings(path: str) -> dict[str, Any]:
    if not os.path.isfile(path):  # moved since the fine-tuning, which is still to be evaluated
        raise CheckpointError(
            f"pretrained={path}: there is no such checkpoint, and the source's settings are in "
            "it; say where it is now with --pretrained=FILE"
        )
    return load_checkpoint(path)


def load_pretrained(config: Config, train_split: Any) -> dict[str, Any] | None:
    """The checkpoint of the pre-trained model, or None where none is needed.

    Args:
        config: Of the fine-tuning.
        train_split: The target's, which knows its source.

    Raises:
        CheckpointError: Of other source items than those loaded here.
    """
    if not trainer_class(config).needs_source or not config["pretrain"]:
        return None
    path = str(config["pretrained"])
    state = from_first(lambda: load_checkpoint(path))
    if knows_other_items(state.get("item_map_sha256"), train_split.source, unknown=True):
        raise CheckpointError(
            f"pretrained={path}: knows other items than source_dataset={config['source_dataset']} "
            "as loaded here; pre-train again on these files"
        )
    return state


def pretraining_report(config: Config, train_split: Any) -> dict[str, Any] | None:
    """What the pre-training was and cost, for the card; None where there is no source.

    Parameters and bytes are those of the whole pre-trained model, its own head included.
    """
    if not trainer_class(config).needs_source:
        return None
    size = count_storage(config.model_class(config, train_split.source))
    done: dict[str, Any] = {"seconds": 0.0, "epochs": 0}
    if config["pretrain"]:
        done = _cost(str(config["pretrained"]))
    return {
        "dataset": config["source_dataset"],
        **done,
        "parameters": size.parameters.as_dict(),
        "size_bytes": size.size_bytes.as_dict(),
        "users": train_split.shared,
    }


def _cost(path: str) -> dict[str, Any]:
    """Seconds and epochs of a training: its card's, or up to the best epoch the checkpoint's."""
    card = card_path_for(path)
    if os.path.exists(card):
        with open(card, encoding="utf-8") as file:
            training = json.load(file)["training"]
    else:
        state = load_checkpoint(path)
        training = {"seconds": state.get("seconds"), "epochs": state["epoch"] + 1}
    return {name: training[name] for name in ("seconds", "epochs")}


def _keys_of_form(model: str) -> set[str]:
    """Keys that both phases must have alike."""
    path = model_yaml(model)
    return {*(declared_in(path) if path else {}), _LONGEST} - _OF_TRAINING


def _pretrained_in(path: str) -> str:
    """``path``, or what the fine-tuned model in it was pre-trained as."""
    its_config = load_checkpoint(path)["config"]
    if not its_config["source_dataset"]:
        return path
    if not its_config["pretrained"]:
        raise CheckpointError(
            f"pretrained={path}: was fine-tuned without pre-training, so there is none to take over"
        )
    return str(its_config["pretrained"])


def _form(config: Config, path: str, state: dict[str, Any]) -> dict[str, Any]:
    """The settings that a pre-trained model decides, taken from its checkpoint.

    Raises:
        ConfigError: The run says something else.
    """
    its_config, given = state["config"], config.external_config_dict
    form = {"model": its_config["model"], "source_dataset": its_config["dataset"]}
    form |= {key: its_config[key] for key in sorted(_keys_of_form(form["model"]))}
    for key, value in form.items():
        ours = config["model"] if key == "model" else given.get(key, value)
        if ours not in (value, None):
            raise ConfigError(
                f"{key}={ours}: pretrained={path} has {key}={value}; leave {key} out, or pre-train "
                "another model"
            )
    if its_config["dataset"] == config["dataset"]:
        raise ConfigError(
            f"pretrained={path}: was trained on {config['dataset']}, the target itself, and may "
            "have seen what the result is tested on; pre-train on another data set"
        )
    del form["model"]
    return form
