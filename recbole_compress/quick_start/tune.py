"""``recbole-compress tune``: which settings give the best validation score."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from recbole_compress._version import __version__
from recbole_compress.arguments import read_command_line
from recbole_compress.changed_defaults import left_open
from recbole_compress.config.given import config_file_names, own_or_ours
from recbole_compress.config.model_names import DATA_FREE_PREFIX, name_of
from recbole_compress.config.schema import load_schema
from recbole_compress.config.written import for_config_file
from recbole_compress.errors import ConfigError, RecBoleCompressError
from recbole_compress.files import locked
from recbole_compress.quick_start.search_space import checked_space, common_config
from recbole_compress.quick_start.trial import Trial
from recbole_compress.tuning.arguments import as_arguments, split_arguments
from recbole_compress.tuning.options import Options
from recbole_compress.tuning.results import settings_text, write_best_settings, write_result_file
from recbole_compress.tuning.space import Space
from recbole_compress.tuning.tool import SearchJob, Tool
from recbole_compress.tuning.tools import TOOLS
from recbole_compress.tuning.trials import FINISHED, Trials

__all__ = ["tune"]

# Where a run writes: every trial has a folder of its own.
_WHERE = ("checkpoint_dir", "card_path")
# They change what is written or how fast, not what comes out.
_NOT_OF_THE_SEARCH = {
    *("state", "show_progress", "threads", "gpu_id", "worker", "log_wandb"),
    *_WHERE,
}


def tune(arguments: Sequence[str]) -> dict[str, Any]:
    """Search, print the best settings, and write three files.

    Args:
        arguments: ``--key=value``; keys of ``properties/tune.yaml``, and settings of all trials.

    Returns:
        The record of the best trial.

    Raises:
        RecBoleCompressError: Anything the user can mend, before the first trial where possible.
    """
    options, fixed = split_arguments(read_command_line(arguments))
    names = config_file_names(fixed.pop("config_files", None))
    files = [os.path.abspath(own_or_ours(name)) for name in names]
    config = common_config(fixed, files)
    if config["resume"]:
        raise ConfigError("resume: is for one run; repeat the same tune command to go on")
    tool = TOOLS[options.tool](options)
    tool.require()
    space = checked_space(options, fixed, files, config)

    stem = _stem(options, config)
    with _alone(stem):
        trials = Trials(
            f"{stem}.json",
            _search(config, space),
            config["valid_metric_bigger"],
            _defaults(config, space),
        )
        _announce(tool, config, space, trials)
        tool.run(
            SearchJob(
                space,
                Trial(tuple(_of_every_trial(tool, fixed, config)), tuple(files)),
                trials,
                keep=partial(_keep, trials, config["valid_metric"]),
                seed=config["seed"],
                epochs=config["epochs"],
            )
        )
        return _conclude(stem, tool, trials, config)


def _stem(options: Options, config: Any) -> str:
    """Path of all three files without their endings."""
    path = options.output_file or os.path.join(
        config["checkpoint_dir"], f"tune-{config['model']}-{config['dataset']}.result"
    )
    stem, ending = os.path.splitext(path)
    if ending in (".json", ".yaml"):
        raise ConfigError(
            f"output_file={path}: that is where the {ending[1:]} file goes; write {stem}.result"
        )
    return stem if ending == ".result" else path


def _alone(stem: str) -> AbstractContextManager[Any]:
    """One search at a time in a file: of two, each would write it without the other's trials."""
    folder, name = os.path.split(stem)
    return locked(
        os.path.join(folder, f".{name}.lock"),
        f"output_file={stem}.result: another search is running there; wait, or choose another "
        "--output_file",
    )


def _search(config: Any, space: Space) -> dict[str, Any]:
    """What makes two searches the same one, so that trials of one count in the other."""
    searched = {dimension.key for dimension in space}
    given = {
        key: value
        for key, value in sorted(config.external_config_dict.items())
        if key not in _NOT_OF_THE_SEARCH | searched
    }
    open_in_some: dict[str, Any] = {}
    for choices in ({}, *({each.key: value} for each in space for value in each.probes())):
        open_in_some |= left_open(config.with_values(**choices), {*given, *searched})
    return {
        "model": config["model"],
        "dataset": config["dataset"],
        "valid_metric": config["valid_metric"],
        **open_in_some,
        **given,
        "seed": config["seed"],
    }


def _defaults(config: Any, space: Space) -> dict[str, Any]:
    """What all trials have without being told."""
    told = {*config.external_config_dict, *(dimension.key for dimension in space)}
    defaults = config.internal_config_dict
    return {key: defaults[key] for key in sorted(defaults.keys() - told - _NOT_OF_THE_SEARCH)}


def _announce(tool: Tool, config: Any, space: Space, trials: Trials) -> None:
    options = tool.options
    try:
        points = f"{space.size():,} points"
    except ConfigError:
        points = "points without number"
    keys = ", ".join(dimension.key for dimension in space)
    at_most = f", at most {options.limit} trials" if options.limit else ""
    print(f"{config['model']} on {config['dataset']}: {points} of {keys}")
    share = f", {tool.resources}" if tool.resources else ""
    print(f"{options.tool}, {options.algo}{at_most}{share}, by {config['valid_metric']} on valid")
    if trials.records:
        print(f"{trials.path} holds {len(trials.records)} trials, which are not run again")


def _of_every_trial(tool: Tool, fixed: Mapping[str, str], config: Any) -> list[str]:
    """What the user fixed, and what a trial needs in whatever folder and process it runs."""
    settings = {**config.internal_config_dict, **config.external_config_dict}
    given = {"state": "ERROR", "show_progress": False, **tool.default_settings, **fixed}
    for key in _WHERE:
        given.pop(key, None)
    model = name_of(config.model_class)
    if config["data_free_quantization"]:
        model = f"{DATA_FREE_PREFIX}{model}"
    given |= {"model": model, "dataset": config["dataset"]}
    given["data_path"] = os.path.abspath(settings["data_path"])
    return as_arguments({**given, **tool.fixed_settings})


def _keep(trials: Trials, metric: str, record: dict[str, Any]) -> None:
    trials.add(record)
    best = trials.best()
    if record["status"] == FINISHED:
        outcome = f"{metric} {record['score']:.4f}"
    else:
        outcome = record["status"]
    star = " *" if record is best else ""
    print(f"trial {len(trials.records)}: {outcome}{star}  {settings_text(record['settings'])}")
    if "error" in record:
        print(f"  skipped: {record['error']}", flush=True)


def _conclude(stem: str, tool: Tool, trials: Trials, config: Any) -> dict[str, Any]:
    best = trials.best()
    if best is None:
        failed = [record for record in trials.records if "error" in record]
        reason = f"; the first: {failed[0]['error']}" if failed else ""
        raise RecBoleCompressError(
            f"none of {len(trials.records)} trials finished{reason} (all in {trials.path})"
        )
    write_result_file(f"{stem}.result", trials.records)
    names = {"model": name_of(config.model_class), "dataset": config["dataset"]}
    # Sums of floats depend on the number of threads, if ever so little.
    given = {**tool.default_settings, **config.external_config_dict}
    for key in (*names, *_WHERE):
        given.pop(key, None)
    schema = load_schema(config["model"], config["dataset"], config.model_class)
    write_best_settings(
        f"{stem}.yaml",
        for_config_file({**names, **given, **best["settings"]}, schema),
        f"best of {len(trials.records)} trials by {config['valid_metric']} on valid: "
        f"{best['score']:.4f} (recbole_compress {__version__}, {tool.options.algo})",
    )
    print(f"\nbest    {settings_text(best['settings'])}")
    equals = sum(r["status"] == FINISHED and r["score"] == best["score"] for r in trials.records)
    if equals > 1:
        print(f"        the first of {equals} trials with this score")
    for split in ("valid", "test"):
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in best[split].items())
        print(f"{split:7} {metrics}")
    print(f"size    {best['parameters']:,} parameters, {best['size_bytes']:,} bytes")
    print(f"files   {stem}.result, {stem}.json (all trials)")
    print(f"        recbole-compress run --config_files={stem}.yaml", flush=True)
    return best
