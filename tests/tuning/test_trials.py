"""The file of trials: kept, found again, and refused where it belongs to another search."""

from __future__ import annotations

import json

import pytest

from recbole_compress.errors import ConfigError
from recbole_compress.tuning.trials import Trials

SEARCH = {"model": "M", "epochs": 3}


def finished(score, **settings):
    return {"settings": settings, "status": "finished", "score": score}


def test_trials_are_found_again_whatever_the_order_of_the_keys(tmp_path):
    path = str(tmp_path / "sub" / "all.json")
    trials = Trials(path, SEARCH, bigger=True)
    assert trials.best() is None
    trials.add(finished(0.25, rate=1e-5, cutoffs=[0.1, 0.2]))
    trials.add({"settings": {"rate": 2}, "status": "failed", "score": None, "error": "NaN"})
    again = Trials(path, SEARCH, bigger=True)
    assert again.find({"cutoffs": (0.1, 0.2), "rate": 0.00001})["score"] == 0.25
    assert again.find({"rate": 2})["error"] == "NaN"
    assert again.find({"rate": 3}) is None


def test_a_trial_run_again_takes_the_earlier_ones_place(tmp_path):
    trials = Trials(str(tmp_path / "all.json"), SEARCH, bigger=True)
    trials.add({"settings": {"a": 1}, "status": "stopped", "score": 0.1})
    trials.add(finished(0.2, a=2))
    trials.add(finished(0.3, a=1))
    assert [record["score"] for record in trials.records] == [0.2, 0.3]
    assert trials.find({"a": 1})["status"] == "finished"


@pytest.mark.parametrize("bigger, best", [(True, {"a": 3}), (False, {"a": 1})])
def test_best_looks_at_finished_trials_only_and_takes_the_first_of_equals(tmp_path, bigger, best):
    trials = Trials(str(tmp_path / "all.json"), SEARCH, bigger)
    for a, score in enumerate([0.5, 0.0, 0.3, 0.9, 0.9, 0.0]):
        trials.add(finished(score, a=a))
    trials.add({"settings": {"a": 9}, "status": "stopped", "score": 99.0 if bigger else -99.0})
    assert trials.best()["settings"] == best


def test_a_file_of_another_search_is_refused_with_what_differs(tmp_path):
    path = str(tmp_path / "all.json")
    Trials(path, SEARCH, True).add(finished(1.0, a=1))
    with pytest.raises(ConfigError, match=r"epochs was 3, is 5.*--output_file"):
        Trials(path, {**SEARCH, "epochs": 5}, True)
    with pytest.raises(ConfigError, match=r"seed was None, is 1"):
        Trials(path, {**SEARCH, "seed": 1}, True)


def test_a_setting_left_open_is_what_the_default_was_when_the_file_was_written(tmp_path):
    path = str(tmp_path / "all.json")
    Trials(path, SEARCH, True, left_open={"rate": 0.1}).add(finished(1.0, a=1))
    # Its default has changed since, or it is said now; either way it counts.
    assert Trials(path, {**SEARCH, "rate": 0.1}, True).records
    with pytest.raises(ConfigError, match=r"rate was 0\.1, is 0\.2"):
        Trials(path, {**SEARCH, "rate": 0.2}, True)
    assert Trials(path, {"model": "M"}, True, left_open={"epochs": 3}).records


def test_a_file_that_does_not_tell_an_older_default_can_be_made_to(tmp_path):
    path = tmp_path / "all.json"
    Trials(str(path), SEARCH, True).add(finished(1.0, a=1))
    search = {**SEARCH, "tt_item_order": "by_id"}
    with pytest.raises(ConfigError, match='or note "tt_item_order" in its "search" if you know'):
        Trials(str(path), search, True)
    path.write_text(json.dumps({**json.loads(path.read_text()), "search": search}))
    assert Trials(str(path), search, True).records


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"search": 1, "trials": []}', json.dumps({"search": {}, "trials": [1]})],
)
def test_another_file_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "all.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"all\.json: not a file of trials"):
        Trials(str(path), SEARCH, True)
    assert path.read_text() == content
