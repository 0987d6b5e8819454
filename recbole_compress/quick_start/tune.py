"""``recbole-compress tune``: which settings give the best validation score."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from recbole_compress._version import __version__
from recbole_compress.arguments import read_command_line
from recbole_compress.config import Config
from recbole_compress.config.given import config_file_names
from recbole_compress.config.properties_folder import hyper_file
from recbole_compress.config.schema import load_schema
from recbole_compress.config.written import for_config_file
from recbole_compress.errors import CheckpointError, ConfigError, DataError, RecBoleCompressError
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.quick_start.unread_in_search import without_unread
from recbole_compress.quick_start.validated import check_validated
from recbole_compress.quick_start.warnings_of_recbole import ignore_warnings_of_recbole
from recbole_compress.tuning.hyperopt_search import Search, require_hyperopt
from recbole_compress.tuning.options import TRIALS, Options, near_option, split_arguments
from recbole_compress.tuning.ray_search import points_to_try, require_ray, search_with_ray
from recbole_compress.tuning.results import settings_text, write_best_settings, write_result_file
from recbole_compress.tuning.space import Space, read_space
from recbole_compress.tuning.trials import FAILED, FINISHED, STOPPED, Trials

__all__ = ["Trial", "tune"]

# In these ways RecBole's models and torch refuse values that they cannot use.
_REFUSALS = (ValueError, ArithmeticError, AssertionError, RuntimeError, MemoryError)
# Where a run writes: every trial has a folder of its own.
_WHERE = ("checkpoint_dir", "card_path")
# They change what is written or how fast, not what comes out.
_NOT_OF_THE_SEARCH = {
    *("state", "show_progress", "threads", "gpu_id", "worker", "log_wandb"),
    *_WHERE,
}


@dataclass(frozen=True)
class Trial:
    """Runs one trial; can be sent to another process, and run in any folder.

    Attributes:
        command_line: What holds for every trial, ``--key=value``; strongest.
        config_files: Absolute paths.
    """

    command_line: tuple[str, ...]
    config_files: tuple[str, ...] = ()

    def __call__(
        self,
        settings: Mapping[str, Any],
        after_evaluation: Callable[[int, float], None] | None = None,
    ) -> dict[str, Any]:
        """Train, validate and test with these settings.

        Returns:
            A record for :class:`~recbole_compress.tuning.trials.Trials`. What these settings are to
            blame for makes it a failed one.

        Raises:
            DataError, CheckpointError: What would fail in every trial.
        """
        ignore_warnings_of_recbole()
        start = time.perf_counter()
        record: dict[str, Any] = {"settings": dict(settings), "status": FAILED, "score": None}
        with tempfile.TemporaryDirectory(prefix="recbole-compress-trial-") as folder:
            try:
                result = run_recbole_compress(
                    config_file_list=list(self.config_files),
                    config_dict=dict(settings),
                    command_line=[*self.command_line, f"--checkpoint_dir={folder}"],
                    after_evaluation=after_evaluation,
                )
            except (DataError, CheckpointError):
                raise
            except _REFUSALS as error:
                lines = str(error).strip().splitlines() or ["no reason given"]
                record["error"] = f"{type(error).__name__}: {lines[0]}"
            else:
                record |= _outcome(result)
        return {**record, "seconds": round(time.perf_counter() - start, 3)}


def _outcome(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a run that came to its end says of its settings."""
    score = result["best_valid_score"]
    if score is None or not math.isfinite(score):
        return {"error": f"the validation score is {score}: see that rows are left to validate on"}
    card = result["card"]
    return {
        "status": FINISHED,
        "score": float(score),
        "valid": _plain(result["best_valid_result"]),
        "test": _plain(result["test_result"]),
        "parameters": card["parameters"]["total"],
        "size_bytes": card["size_bytes"]["total"],
        "epochs": card["training"]["epochs"],
    }


def _plain(result: Mapping[str, Any] | None) -> dict[str, float]:
    """Nothing where a split has no rows."""
    return {name: float(value) for name, value in (result or {}).items()}


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
    files = [os.path.abspath(name) for name in config_file_names(fixed.pop("config_files", None))]
    config = _common_config(fixed, files)
    if config["resume"]:
        raise ConfigError("resume: is for one run; repeat the same tune command to go on")
    require_ray() if options.tool == "Ray" else require_hyperopt()
    space = _space(options, fixed, files, config)

    stem = _stem(options, config)
    trials = Trials(f"{stem}.json", _search(config, space), config["valid_metric_bigger"])
    limit = options.max_evals or (None if options.algo == "exhaustive" else TRIALS)
    _announce(options, config, space, limit, trials)
    trial = Trial(tuple(_of_every_trial(options, fixed, config)), tuple(files))
    if options.tool == "Ray":
        _with_ray(trial, trials, space, options, limit, config)
    else:
        run = partial(_once, trial, trials, config["valid_metric"])
        Search(
            run,
            space,
            options.algo,
            limit,
            options.early_stop,
            bigger=trials.bigger,
            seed=config["seed"],
        ).run()
    return _conclude(stem, options, trials, config)


# -- before ----------------------------------------------------------------------------------


def _common_config(fixed: Mapping[str, str], files: list[str]) -> Any:
    try:
        return Config(config_file_list=files, command_line=_as_arguments(fixed))
    except ConfigError as error:
        for key in fixed:
            option = near_option(key)
            if option and str(error).startswith(f"{key} (command line): unknown key"):
                raise ConfigError(f"--{key}: did you mean --{option}?") from error
        raise


def _as_arguments(texts: Mapping[str, str]) -> list[str]:
    return [f"--{key}={text}" for key, text in texts.items()]


def _space(options: Options, fixed: Mapping[str, str], files: list[str], config: Any) -> Space:
    """The space, with every key and value in it accepted by the model's own checks."""
    model = config["model"]
    path = options.params_file or hyper_file(model)
    if path is None:
        raise ConfigError(
            f"model={model}: has no search space of its own; add --params_file=FILE.hyper with "
            "lines such as 'learning_rate choice [0.01,0.001]'"
        )
    schema = load_schema(model, config["dataset"], config.model_class)
    space = read_space(path).check(schema, model).without(fixed)
    if not space.dimensions:
        raise ConfigError(f"{path}: every key in it is fixed on the command line")
    searched = {dimension.key for dimension in space}
    check_validated(config, undecided=searched)
    for dimension in space:
        for value in dimension.probes():
            try:
                one = Config(
                    config_file_list=files,
                    config_dict={dimension.key: value},
                    command_line=_as_arguments(fixed),
                )
                check_validated(one, undecided=searched - {dimension.key})
            except ConfigError as error:
                raise ConfigError(f"{dimension.where}: {error}") from error
    space = without_unread(config, space, of_the_user=options.params_file is not None)
    if not space.dimensions:
        raise ConfigError(f"{path}: nothing in it is read with these choices; add --params_file")
    return space


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


def _search(config: Any, space: Space) -> dict[str, Any]:
    """What makes two searches the same one, so that trials of one count in the other."""
    searched = {dimension.key for dimension in space}
    given = {
        key: value
        for key, value in sorted(config.external_config_dict.items())
        if key not in _NOT_OF_THE_SEARCH | searched
    }
    return {
        "model": config["model"],
        "dataset": config["dataset"],
        "valid_metric": config["valid_metric"],
        **given,
        "seed": config["seed"],
    }


def _announce(
    options: Options, config: Any, space: Space, limit: int | None, trials: Trials
) -> None:
    try:
        points = f"{space.size():,} points"
    except ConfigError:
        points = "points without number"
    keys = ", ".join(dimension.key for dimension in space)
    at_most = f", at most {limit} trials" if limit else ""
    print(f"{config['model']} on {config['dataset']}: {points} of {keys}")
    cores = ""
    if options.tool == "Ray":
        cores = f", {options.cpus_per_trial} cores and {options.gpus_per_trial:g} GPUs per trial"
    print(f"{options.tool}, {options.algo}{at_most}{cores}, by {config['valid_metric']} on valid")
    if trials.records:
        print(f"{trials.path} holds {len(trials.records)} trials, which are not run again")


def _of_every_trial(options: Options, fixed: Mapping[str, str], config: Any) -> list[str]:
    """What the user fixed, and what a trial needs in whatever folder and process it runs."""
    settings = {**config.internal_config_dict, **config.external_config_dict}
    texts = {"state": "ERROR", "show_progress": "False", **fixed}
    for key in _WHERE:
        texts.pop(key, None)
    model = f"DFQ{config['model']}" if config["data_free_quantization"] else config["model"]
    texts |= {"model": model, "dataset": config["dataset"]}
    texts["data_path"] = os.path.abspath(settings["data_path"])
    if options.tool == "Ray":
        texts["threads"] = str(fixed.get("threads", options.cpus_per_trial))
        texts["use_gpu"] = str(options.gpus_per_trial > 0)
    return _as_arguments(texts)


# -- trials ----------------------------------------------------------------------------------


def _once(trial: Trial, trials: Trials, metric: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The trial of these settings, from the file if it was run before."""
    known = trials.find(settings)
    if known is not None and known["status"] != STOPPED:
        return known
    record = trial(settings)
    _keep(trials, metric, record)
    return record


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


def _with_ray(
    trial: Trial, trials: Trials, space: Space, options: Options, limit: int | None, config: Any
) -> None:
    points = points_to_try(space, options.algo, limit, config["seed"])
    asha = options.scheduler == "asha"
    # A trial that was ended early is whole enough only where that was asked for.
    todo = [
        point
        for point in points
        if (known := trials.find(point)) is None or (known["status"] == STOPPED and not asha)
    ]
    fatal: list[str] = []

    def ended(record: dict[str, Any]) -> None:
        if "fatal" in record:
            fatal.append(record["fatal"])
        else:
            _keep(trials, config["valid_metric"], record)

    if todo:
        search_with_ray(
            partial(_in_ray, trial),
            todo,
            ended,
            cpus=options.cpus_per_trial,
            gpus=options.gpus_per_trial,
            bigger=trials.bigger,
            epochs=config["epochs"],
            asha=asha,
        )
    if fatal:
        raise RecBoleCompressError(fatal[0])


def _in_ray(
    trial: Trial, settings: dict[str, Any], after_evaluation: Callable[[int, float], None]
) -> dict[str, Any]:
    """A trial in a process of Ray's, which cannot end the whole search itself."""
    # RecBole sets this variable from gpu_id, and so would leave the GPU that Ray gave the trial.
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpus and "--use_gpu=True" in trial.command_line:
        trial = Trial((*trial.command_line, f"--gpu_id={gpus}"), trial.config_files)
    try:
        return trial(settings, after_evaluation)
    except (DataError, CheckpointError) as error:
        return {"settings": settings, "status": FAILED, "score": None, "fatal": str(error)}


# -- afterwards ------------------------------------------------------------------------------


def _conclude(stem: str, options: Options, trials: Trials, config: Any) -> dict[str, Any]:
    best = trials.best()
    if best is None:
        failed = [record for record in trials.records if "error" in record]
        reason = f"; the first: {failed[0]['error']}" if failed else ""
        raise RecBoleCompressError(
            f"none of {len(trials.records)} trials finished{reason} (all in {trials.path})"
        )
    write_result_file(f"{stem}.result", trials.records)
    names = {"model": config["model"], "dataset": config["dataset"]}
    # Sums of floats depend on the number of threads, if ever so little.
    threads = {"threads": options.cpus_per_trial} if options.tool == "Ray" else {}
    given = {**threads, **config.external_config_dict}
    for key in (*names, *_WHERE):
        given.pop(key, None)
    schema = load_schema(config["model"], config["dataset"], config.model_class)
    write_best_settings(
        f"{stem}.yaml",
        for_config_file({**names, **given, **best["settings"]}, schema),
        f"best of {len(trials.records)} trials by {config['valid_metric']} on valid: "
        f"{best['score']:.4f} (recbole_compress {__version__}, {options.algo})",
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
