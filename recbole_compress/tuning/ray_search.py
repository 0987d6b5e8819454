"""Ray Tune: several trials at once, on as many cores as there are."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from recbole_compress.errors import RecBoleCompressError
from recbole_compress.tuning.space import Space
from recbole_compress.tuning.trials import FAILED, STOPPED

__all__ = ["points_to_try", "require_ray", "search_with_ray"]

AfterEvaluation = Callable[[int, float], None]
Evaluate = Callable[[dict[str, Any], AfterEvaluation], dict[str, Any]]


def require_ray() -> Any:
    """Ray's ``tune``, of a release with today's interface.

    Raises:
        RecBoleCompressError: It is not there, or too old; says how to get it.
    """
    # Read at import: no files about metrics beside our own, and no word to anybody.
    for name, value in (
        ("RAY_USAGE_STATS_ENABLED", "0"),
        ("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1"),
        ("RAY_AIR_NEW_OUTPUT", "0"),  # no tables of its own either
        ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"),
    ):
        os.environ.setdefault(name, value)
    try:
        from ray import tune

        for name in ("Tuner", "TuneConfig", "RunConfig", "Callback", "with_resources"):
            getattr(tune, name)  # missing in old releases
    except (ImportError, AttributeError) as error:
        raise RecBoleCompressError(
            "--tool=Ray needs a current Ray Tune: pip install 'ray[tune]>=2.60' (the extra 'ray')"
        ) from error
    return tune


def points_to_try(
    space: Space, algo: str, max_evals: int | None, seed: int
) -> list[dict[str, Any]]:
    """The settings of all trials, each once: the space in shuffled order, or random points.

    Raises:
        ConfigError: ``exhaustive`` on a space without end.
    """
    if algo == "exhaustive":
        return [space.point(number) for number in space.order(seed)[:max_evals]]
    rng = np.random.RandomState(seed)
    drawn = [space.draw(rng) for _ in range(max_evals or 0)]
    return list({json.dumps(point, sort_keys=True): point for point in drawn}.values())


def search_with_ray(
    evaluate: Evaluate,
    points: list[dict[str, Any]],
    ended: Callable[[dict[str, Any]], None],
    *,
    cpus: int,
    gpus: float,
    bigger: bool,
    epochs: int,
    asha: bool,
) -> None:
    """Run a trial for each point, as many at a time as the cores allow.

    Args:
        evaluate: Runs a trial: settings and what to call after each evaluation -> its record.
            Must be importable by name: it runs in other processes, in other folders.
        points: Settings of the trials.
        ended: Is given each trial's record, here, as soon as it ends.
        cpus: Cores of one trial.
        gpus: GPUs of one trial.
        bigger: Whether a bigger score is better.
        epochs: Of a whole trial.
        asha: End trials early that are worse than others were after as many epochs.

    Raises:
        RecBoleCompressError: Ray is missing, or cannot run such trials here.
    """
    tune = require_ray()
    import ray

    def trial(point: dict[str, Any]) -> None:
        last = [0]

        def report(epoch: int, score: float) -> None:
            last[0] = epoch + 1
            tune.report({"epoch": epoch + 1, "score": float(score)})

        record = evaluate(point["settings"], report)
        score = record["score"]
        # A failed trial is no better than any other.
        worst = float("-inf") if bigger else float("inf")
        final = {"epoch": last[0] or 1, "score": worst if score is None else score}
        tune.report({**final, "record": json.dumps(record)})

    callback: Any = tune.Callback

    class Keep(callback):
        """Hands over each record when its trial ends, so that an interruption costs little."""

        def on_trial_complete(self, iteration, trials, trial, **info):
            ended(_record(trial.last_result or {}, _settings_of(trial)))

        def on_trial_error(self, iteration, trials, trial, **info):
            error = f"the process of the trial ended: {_last_line(trial.error_file)}"
            settings = _settings_of(trial)
            ended({"settings": settings, "status": FAILED, "score": None, "error": error})

    mine = not ray.is_initialized()
    if mine:
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # a bare one, where a busy machine takes too long for Ray
            ray.shutdown()  # what had started already
            raise RecBoleCompressError(
                f"Ray does not start here: {str(error).partition(chr(10))[0]}"
            ) from error
    try:
        have = ray.cluster_resources()
        for name, wanted in (("CPU", cpus), ("GPU", gpus)):
            if wanted > have.get(name, 0):
                raise RecBoleCompressError(
                    f"{name.lower()}s_per_trial={wanted}: Ray sees {have.get(name, 0):g} here"
                )
        mode = "max" if bigger else "min"
        scheduler = None
        if asha:
            from ray.tune.schedulers import ASHAScheduler

            # A trial that reaches max_t is ended too, before it could report its record.
            scheduler = ASHAScheduler(time_attr="epoch", max_t=epochs + 1, grace_period=1)
        # Ray's own records of the search; ours are those that `ended` keeps.
        with tempfile.TemporaryDirectory(prefix="recbole-compress-ray-") as folder:
            tune.Tuner(
                tune.with_resources(trial, {"cpu": cpus, "gpu": gpus}),
                param_space={"settings": tune.grid_search(points)},
                tune_config=tune.TuneConfig(metric="score", mode=mode, scheduler=scheduler),
                run_config=tune.RunConfig(
                    storage_path=folder, name="trials", callbacks=[Keep()], verbose=0
                ),
            ).fit()
    finally:
        if mine:
            ray.shutdown()


def _record(result: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """What a trial reported last: its record, or how far it had come when it was ended."""
    if "record" in result:
        return json.loads(result["record"])
    return {
        "settings": settings,
        "status": STOPPED,
        "score": result.get("score"),
        "epochs": result.get("epoch"),
    }


def _settings_of(trial: Any) -> dict[str, Any]:
    point = trial.config
    return point["settings"]


def _last_line(path: str | None) -> str:
    try:
        with open(path or "", encoding="utf-8") as file:
            return [line.strip() for line in file if line.strip()][-1]
    except (OSError, IndexError):
        return "no reason given"
