"""RecBole's ``HyperTuning``, one trial after another, made fit for use."""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from recbole.trainer import HyperTuning

from recbole_compress.errors import RecBoleCompressError
from recbole_compress.tuning.space import Choice, Dimension, LogUniform, QUniform, Space, Uniform
from recbole_compress.tuning.trials import FINISHED

__all__ = ["Search", "require_hyperopt"]


def require_hyperopt() -> None:
    """Check that hyperopt can be used.

    Raises:
        RecBoleCompressError: It is missing, broken or of another release; says how to get it.
    """
    advice = "pip install hyperopt==0.2.5 'setuptools<82' (the extra 'hyper'), or take --tool=Ray"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports pkg_resources, which complains
            import hyperopt
    except ImportError as error:
        raise RecBoleCompressError(f"tune needs hyperopt ({error}): {advice}") from error
    if hyperopt.__version__ != "0.2.5":  # later ones want other random generators than RecBole's
        raise RecBoleCompressError(
            f"tune needs hyperopt 0.2.5, not {hyperopt.__version__}: {advice}"
        )


class Search(HyperTuning):
    """``HyperTuning`` that counts 0.0 as a score, outlives failing trials and is reproducible.

    RecBole's takes a score of 0.0 for none, ends with the first failing trial, draws without a
    seed, and in an exhaustive search stops looking after 1000 draws of old points.
    Here an exhaustive search walks a shuffled list of all points.

    Args:
        evaluate: Runs a trial: settings -> record with ``status`` and ``score``.
        space: What to vary.
        algo: ``exhaustive``, ``random`` or ``bayes``.
        max_evals: Trials at most; None for the whole space.
        early_stop: Trials in a row without a better one that end the search; None for never.
        bigger: Whether a bigger score is better.
        seed: Of the order in which points are tried.
    """

    def __init__(
        self,
        evaluate: Callable[[dict[str, Any]], dict[str, Any]],
        space: Space,
        algo: str,
        max_evals: int | None,
        early_stop: int | None,
        bigger: bool,
        seed: int,
    ) -> None:
        require_hyperopt()
        self.points = space
        self.bigger, self.seed = bigger, seed
        exhaustive = algo == "exhaustive"
        order = space.order(seed) if exhaustive else []
        super().__init__(
            evaluate,
            space=_grid(space) if exhaustive else _scales(space),
            algo=_walk(space, order) if exhaustive else algo,
            max_evals=min(max_evals or len(order), len(order)) if exhaustive else max_evals,
        )
        self.best_score: float | None = None
        self.exhaustive = exhaustive
        self.early_stop_fn = _no_better(early_stop)

    def trial(self, params: dict[str, Any]) -> dict[str, Any]:
        """One trial; a failed one has no loss, and the search goes on."""
        drawn = ((d, params[d.key]) for d in self.points)
        settings = {
            d.key: d.grid()[int(number)] if self.exhaustive else d.value(number)
            for d, number in drawn
        }
        record = self.objective_function(settings)
        score = record["score"]
        if record["status"] != FINISHED or not math.isfinite(score):
            return {"status": "fail"}
        self.params_list.append(self.params2str(settings))
        self.score_list.append(score)
        if self.best_score is None or (
            score > self.best_score if self.bigger else score < self.best_score
        ):
            self.best_score, self.best_params = score, settings
        return {"status": "ok", "loss": -score if self.bigger else score}

    def run(self) -> None:
        """Search, then have ``best_score`` and ``best_params``; None if all trials failed."""
        from hyperopt import Trials, fmin
        from hyperopt.exceptions import AllTrialsFailed

        # It would log every exception that passes through as well.
        logging.getLogger("hyperopt").setLevel(logging.CRITICAL)
        # Nothing is best if all failed; whoever ran the trials knows why.
        with contextlib.suppress(AllTrialsFailed):
            fmin(
                self.trial,
                self.space,
                algo=self.algo,
                max_evals=self.max_evals,
                trials=Trials(),
                rstate=np.random.RandomState(self.seed),
                early_stop_fn=self.early_stop_fn,
                verbose=False,
            )


def _grid(space: Space) -> dict[str, Any]:
    from hyperopt import hp

    return {d.key: hp.choice(d.key, list(range(len(d.grid())))) for d in space}


def _scales(space: Space) -> dict[str, Any]:
    from hyperopt import hp

    # Positions instead of values: hyperopt would turn lists into tuples of its own.
    kinds: dict[type[Dimension], Callable[[Any], Any]] = {
        Choice: lambda d: hp.choice(d.key, list(range(len(d.values)))),
        Uniform: lambda d: hp.uniform(d.key, d.low, d.high),
        LogUniform: lambda d: hp.loguniform(d.key, d.low, d.high),
        QUniform: lambda d: hp.quniform(d.key, d.low, d.high, d.step),
    }
    return {d.key: kinds[type(d)](d) for d in space}


def _walk(space: Space, order: list[int]) -> Callable[..., list[Any]]:
    """A hyperopt algorithm that proposes every point once, in the given order."""
    sizes = [len(d.grid()) for d in space]

    def propose(new_ids, domain, trials, seed):
        from hyperopt.base import miscs_update_idxs_vals

        documents: list[Any] = []
        for new_id in new_ids:
            number = len(trials.trials) + len(documents)
            if number >= len(order):
                break
            places = np.unravel_index(order[number], sizes)
            misc = {"tid": new_id, "cmd": domain.cmd, "workdir": domain.workdir}
            values = {d.key: [int(place)] for d, place in zip(space, places, strict=True)}
            miscs_update_idxs_vals([misc], {key: [new_id] for key in values}, values)
            documents += trials.new_trial_docs([new_id], [None], [domain.new_result()], [misc])
        return documents

    return propose


def _no_better(limit: int | None) -> Callable[..., tuple[bool, list[Any]]]:
    """Stop rule: ``limit`` trials in a row, failed ones too, did not beat the best before them."""

    def stop(trials, *_):
        best, idle = math.inf, 0
        for result in trials.results:
            loss = result.get("loss", math.inf)
            idle = 0 if loss < best else idle + 1
            best = min(best, loss)
        return limit is not None and idle >= limit, []

    return stop
