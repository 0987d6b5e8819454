"""One run: data, model, training, evaluation, card. The only place where everything meets."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from typing import Any

import torch
from recbole.data.transform import construct_transform
from recbole.utils import get_flops, init_logger, init_seed

from recbole_compress.config import Config
from recbole_compress.data.item_vectors import state_will_be_loaded
from recbole_compress.data.loaders import split_of
from recbole_compress.distributed.group import joined
from recbole_compress.distributed.launcher import launch
from recbole_compress.distributed.place import here
from recbole_compress.distributed.quiet import quiet_logger
from recbole_compress.distributed.settings import starts_processes, threads_per_process
from recbole_compress.errors import in_one_line
from recbole_compress.models import CompressedRecommender
from recbole_compress.quantization import check_quantizable
from recbole_compress.quick_start.checks import check_run, refuse_missing_features
from recbole_compress.quick_start.data_free import quantized_and_evaluated
from recbole_compress.quick_start.final_results import final_results
from recbole_compress.quick_start.host_models import trainer_class
from recbole_compress.quick_start.prepared_data import prepare_data
from recbole_compress.quick_start.pretraining import load_data, load_pretrained, pretrain
from recbole_compress.quick_start.resumption import settings_of
from recbole_compress.quick_start.run_card import card_of_run
from recbole_compress.quick_start.teacher import load_teacher, train_teacher
from recbole_compress.quick_start.unread_settings import warn_of_unread_settings
from recbole_compress.quick_start.warnings_of_recbole import ignore_warnings_of_recbole
from recbole_compress.reports.thop_counters import register as register_thop_counters
from recbole_compress.trainers.bit_budget import check_bound
from recbole_compress.trainers.quantization_settings import file_limit, spec_of

__all__ = ["run", "run_recbole_compress"]


def run(arguments: list[str]) -> None:
    """The command: ``--model=NAME --dataset=NAME [--key=value ...]``."""
    run_recbole_compress(command_line=arguments)


def run_recbole_compress(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: list[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    command_line: list[str] | None = None,
    saved: bool = True,
    after_evaluation: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Train, evaluate and report one model; RecBole's ``run_recbole`` with a compression card.

    Args:
        model: Name (or class) of one of our models or of RecBole's sequential ones; may stand in
            the other arguments instead, as ``dataset`` may.
        dataset: Name of the data set.
        config_file_list: yaml files, weakest.
        config_dict: Settings, stronger.
        command_line: ``--key=value`` arguments, strongest; parsed, never evaluated.
        saved: Write checkpoint and card; those of a teacher trained first are always written.
        after_evaluation: Is told epoch and validation score after every evaluation.

    Returns:
        RecBole's keys ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result`` and
        ``test_result``, and ours: ``card`` (dict), ``card_path`` and ``checkpoint`` (None where
        nothing was written).

    Raises:
        RecBoleCompressError: Anything the user can mend, in one line.
    """
    arguments: dict[str, Any] = {
        "model": model,
        "dataset": dataset,
        "config_file_list": config_file_list,
        "config_dict": {
            **settings_of(config_file_list, config_dict, command_line),
            **(config_dict or {}),
        },
        "command_line": command_line,
    }
    config = Config(**arguments)
    check_run(config)
    threads = torch.get_num_threads()
    try:
        if config["data_free_quantization"] and here().is_alone:
            return _quantized(config, arguments, saved, after_evaluation)
        return _trained(config, arguments, saved, after_evaluation)
    finally:
        torch.set_num_threads(threads)  # what `threads` says is for this run


def _quantized(config: Config, arguments: dict[str, Any], saved: bool, after_evaluation: Any):
    """The full-precision model trained or found, quantized without data, evaluated."""
    full = None
    if config["full_precision_path"] is None:
        full = _trained(config, arguments, True, after_evaluation)
    else:
        _fresh_logger(config)
    return quantized_and_evaluated(config, full)


def _trained(config: Config, arguments: dict[str, Any], saved: bool, after_evaluation: Any):
    if starts_processes(config.final_config_dict):
        arguments |= {"saved": saved, "after_evaluation": after_evaluation}
        try:
            return launch(_one_of_several, arguments, config.final_config_dict)
        except KeyboardInterrupt:  # the processes know the file, this one does not
            raise KeyboardInterrupt("--resume=<the checkpoint named above>") from None
    with joined(config["device"]):
        return _train_and_report(config, saved, after_evaluation)


def _one_of_several(**arguments) -> dict[str, Any]:
    ignore_warnings_of_recbole()  # a fresh process shows them again
    return run_recbole_compress(**arguments)


def _train_and_report(
    config: Config, saved: bool, after_evaluation: Callable[[int, float], None] | None
) -> dict[str, Any]:
    if config["data_free_quantization"]:  # the run's own files are those of the quantized model
        config["card_path"] = config["ranks_path"] = None
    made = None
    for first_phase in (train_teacher, pretrain):
        made = first_phase(config, lambda its: _train_first(its, config)) or made
    try:
        return _last_phase(config, saved, after_evaluation)
    except KeyboardInterrupt as interruption:
        # With nothing of its own to go on from, there is still the phase before it.
        how = str(interruption) or (f"--resume={made}" if made else "")
        raise KeyboardInterrupt(how) from None


def _train_first(its_config: Config, config: Config) -> dict[str, Any]:
    """The phase before the run of ``config``, once it is known that the run can follow."""
    if its_config["resume"] is None:
        _try_out(config)
    return _train_and_report(its_config, True, None)


def _try_out(config: Config) -> None:
    """Make a run's model and forget it: after hours of another phase, what it refuses comes late.

    A function of its own, so that neither data nor model are held while that phase trains.
    """
    _use_threads(config)
    train_data, *_ = prepare_data(config, load_data(config))
    _network(trainer_class(config), config, split_of(train_data))


def _last_phase(
    config: Config, saved: bool, after_evaluation: Callable[[int, float], None] | None
) -> dict[str, Any]:
    _use_threads(config)
    init_seed(config["seed"], config["reproducibility"])
    logger = _fresh_logger(config)
    logger.info(config)

    data = load_data(config)
    logger.info(data)
    train_data, valid_data, test_data = prepare_data(config, data)
    splits = [split_of(loader) for loader in (train_data, valid_data, test_data)]

    first = load_teacher(config, splits[0]) or load_pretrained(config, splits[0])
    init_seed(config["seed"], config["reproducibility"])
    make_trainer = trainer_class(config)
    network = _network(make_trainer, config, splits[0])
    logger.info(network)
    if here().is_first:
        _describe(network, config, data, logger)

    trainer = make_trainer(config, network)
    if first is not None:
        trainer.learn_from(first, splits[0])
    if whole := config["part_of"]:
        logger.info(f"Phase 1 of 2, before recipe={whole.get('recipe')} of {whole['model']}")
    elif first is not None:
        logger.info(f"Phase 2 of 2, recipe={config['recipe']}")
    if not here().is_first:  # one model at the start, but dropout of one's own
        init_seed(config["seed"] + here().rank, config["reproducibility"])
    try:
        best_valid_score, best_valid_result = trainer.fit(
            train_data,
            valid_data,
            saved=saved,
            show_progress=config["show_progress"],
            callback_fn=after_evaluation,
        )
        test_result, further = final_results(
            trainer, train_data, valid_data, test_data, saved, config["show_progress"]
        )
    except KeyboardInterrupt:
        begun = saved and os.path.exists(trainer.saved_model_file)
        how = f"--resume={trainer.saved_model_file}" if begun else ""
        raise KeyboardInterrupt(how) from None
    checkpoint = trainer.saved_model_file if saved else None
    metrics = {"valid": best_valid_result, "test": test_result, **further}
    card, card_path = card_of_run(trainer, network, metrics, splits, checkpoint)
    return {
        "best_valid_score": best_valid_score,
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": best_valid_result,
        "test_result": test_result,
        "card": card,
        "card_path": card_path,
        "checkpoint": checkpoint,
    }


def _use_threads(config: Config) -> None:
    place = here()
    if config["threads"] or not place.is_alone:
        torch.set_num_threads(config["threads"] or threads_per_process(place.local_world_size))


# What a constructor of RecBole's complains with.
_OF_SETTINGS = (ValueError, TypeError, LookupError, AssertionError, RuntimeError)


def _network(make_trainer: Any, config: Config, train_split: Any) -> Any:
    """The model before its training, on its device."""
    refuse_missing_features(config, train_split)
    loaded = state_will_be_loaded() if config["resume"] else contextlib.nullcontext()
    refused = f"model={config['model']}: cannot be made with these settings"
    ours = issubclass(config.model_class, CompressedRecommender)  # which says itself what is wrong
    with loaded, in_one_line(refused, () if ours else _OF_SETTINGS):
        network = make_trainer.build_model(config, train_split).to(config["device"])
    if config["data_free_quantization"]:  # now that the catalogue is known
        spec = spec_of(config)
        check_quantizable(network, spec)
        if limit := file_limit(config):
            check_bound(network, spec, limit)
    return network


def _describe(network: Any, config: Config, data: Any, logger: logging.Logger) -> None:
    """Into the log: settings that it does not read, and RecBole's count of its work."""
    warn_of_unread_settings(config, network, logger)
    register_thop_counters()
    flops = get_flops(network, data, config["device"], logger, construct_transform(config))
    logger.info(f"FLOPs of one prediction (RecBole's count): {flops}")


def _fresh_logger(config) -> logging.Logger:
    """RecBole's logger for this run; without the reset a second run writes to the first's file."""
    if not here().is_first:
        return quiet_logger()
    logger = logging.getLogger()
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    init_logger(config)
    return logger
