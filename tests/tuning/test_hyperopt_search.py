"""RecBole's HyperTuning on made-up objectives, where the truth is known."""

from __future__ import annotations

import math
import sys

import pytest

from recbole_compress.errors import RecBoleCompressError
from recbole_compress.tuning.hyperopt_search import Search
from recbole_compress.tuning.space import Choice, LogUniform, QUniform, Space, Uniform

pytest.importorskip("hyperopt")

GRID = Space(
    [
        Choice("a", "", (1, 2, 3, 4, 5, 6, 7)),
        Choice("b", "", ([1, 2], [3], "x")),
        QUniform("c", "", 0, 90, 10, whole=True),
    ]
)
SCALES = Space(
    [
        Uniform("x", "", -1, 1),
        LogUniform("y", "", -9, 0),
        QUniform("q", "", 2, 8, 2, whole=True),
        Choice("c", "", ([1, 2], None, "x")),
    ]
)


class Objective:
    """Notes what it is asked and answers with ``score(settings)``; None is a failure."""

    def __init__(self, score):
        self.score, self.asked = score, []

    def __call__(self, settings):
        self.asked.append(settings)
        score = self.score(settings)
        return {"status": "failed" if score is None else "finished", "score": score}


def search(score, space, algo="exhaustive", max_evals=None, early_stop=None, bigger=True, seed=1):
    objective = Objective(score)
    run = Search(objective, space, algo, max_evals, early_stop, bigger, seed)
    run.run()
    return run, objective.asked


def test_exhaustive_visits_every_point_once():
    _, asked = search(lambda s: s["a"], GRID)
    assert len(asked) == GRID.size() == 210
    expected = [GRID.point(number) for number in range(210)]
    assert sorted(map(repr, asked)) == sorted(map(repr, expected))
    assert asked[0]["b"] is not None and isinstance(asked[0]["c"], int)


def test_exhaustive_can_be_cut_short_and_goes_through_the_space_at_random():
    _, first = search(lambda s: s["a"], GRID, max_evals=30)
    _, all_of_it = search(lambda s: s["a"], GRID)
    assert first == all_of_it[:30]
    assert {point["a"] for point in first} == set(range(1, 8))


@pytest.mark.parametrize("bigger", [True, False])
def test_best_is_the_best_with_zero_and_negative_scores(bigger):
    """RecBole's own takes a score of 0.0 for none yet."""
    space = Space([Choice("a", "", (-2, -1, 0, 1, 2))])
    for seed in range(5):
        run, _ = search(lambda s: s["a"] / 2, space, bigger=bigger, seed=seed)
        assert run.best_params == {"a": 2 if bigger else -2}
    top_is_zero = Space([Choice("a", "", (0, 1, 2))])
    for seed in range(5):
        run, _ = search(
            lambda s: -s["a"] if bigger else s["a"], top_is_zero, bigger=bigger, seed=seed
        )
        assert (run.best_params, run.best_score) == ({"a": 0}, 0)


@pytest.mark.parametrize("algo", ["random", "bayes"])
def test_drawn_settings_are_of_the_space_and_repeat_with_the_seed(algo):
    _, asked = search(lambda s: s["x"], SCALES, algo, max_evals=30)
    assert len(asked) == 30
    for point in asked:
        assert -1 <= point["x"] <= 1 and math.exp(-9) <= point["y"] <= 1
        assert point["q"] in (2, 4, 6, 8) and isinstance(point["q"], int)
        assert point["c"] in ([1, 2], None, "x")
    assert search(lambda s: s["x"], SCALES, algo, max_evals=30)[1] == asked
    assert search(lambda s: s["x"], SCALES, algo, max_evals=30, seed=2)[1] != asked


def test_bayes_learns_from_the_scores():
    """After its 20 random trials it draws nearer to the optimum than chance does."""
    space = Space([Uniform("x", "", -1, 1)])
    near = []
    for seed in range(5):
        _, asked = search(lambda s: -abs(s["x"] - 0.7), space, "bayes", max_evals=60, seed=seed)
        near += [abs(point["x"] - 0.7) < 0.3 for point in asked[30:]]
    assert sum(near) / len(near) > 0.42  # by chance 0.3


def test_failures_do_not_end_the_search():
    run, asked = search(lambda s: None if s["a"] % 2 else s["a"], GRID)
    assert len(asked) == 210
    assert run.best_params["a"] == 6
    run, asked = search(lambda s: float("nan") if s["a"] > 3 else s["a"], GRID)
    assert run.best_params["a"] == 3
    for algo in ("random", "bayes"):
        assert len(search(lambda s: None, SCALES, algo, max_evals=25)[1]) == 25
    run, _ = search(lambda s: None, GRID)
    assert run.best_params is None


def test_early_stop_counts_trials_without_a_better_one():
    scores = iter([1, 5, 5, None, 4, 6, 1, 1, 1, 9, 9, 9])
    run, asked = search(lambda s: next(scores), GRID, early_stop=3)
    assert len(asked) == 5  # 5, then 5, failed, 4
    scores = iter([1, 5, 5, None, 4, 6, 1, 1, 1, 1, 9, 9])
    run, asked = search(lambda s: next(scores), GRID, early_stop=4)
    assert (len(asked), run.best_score) == (10, 6)


def test_what_goes_wrong_everywhere_goes_through():
    def broken(settings):
        raise RecBoleCompressError("no data")

    with pytest.raises(RecBoleCompressError, match="no data"):
        search(broken, GRID)


def test_without_hyperopt_one_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "hyperopt", None)
    with pytest.raises(RecBoleCompressError, match=r"pip install hyperopt==0\.2\.5"):
        search(lambda s: 1, GRID)


def test_another_release_of_hyperopt_is_named(monkeypatch):
    monkeypatch.setattr("hyperopt.__version__", "0.2.7")
    with pytest.raises(RecBoleCompressError, match=r"needs hyperopt 0\.2\.5, not 0\.2\.7"):
        search(lambda s: 1, GRID)
