"""What the tools have in common, and Ray's without a ray: its trials run here, one by one."""

from __future__ import annotations

import json
import pickle
from functools import partial

import pytest

from recbole_compress.config.properties_folder import tune_yaml
from recbole_compress.config.schema import declared_in
from recbole_compress.errors import DataError, RecBoleCompressError
from recbole_compress.tuning import ray_tool
from recbole_compress.tuning.arguments import split_arguments
from recbole_compress.tuning.space import Choice, Space
from recbole_compress.tuning.tool import SearchJob
from recbole_compress.tuning.tools import TOOLS
from recbole_compress.tuning.trials import Trials

SPACE = Space([Choice("a", "", (1, 2, 3))])


def scored(settings, after_evaluation=None, more_arguments=()):
    return {
        "settings": settings,
        "status": "finished",
        "score": float(settings["a"]),
        "more": [*more_arguments],
    }


def without_data(settings, after_evaluation=None, more_arguments=()):
    raise DataError("no folder")


@pytest.fixture
def searched(tmp_path, monkeypatch):
    """Runs ``trial`` for every point of the space with the options; gives all records."""

    def here(evaluate, points, ended, **resources):
        for point in points:
            ended(json.loads(json.dumps(pickle.loads(pickle.dumps(evaluate))(point, None))))

    monkeypatch.setattr(ray_tool, "search_with_ray", here)

    def run(trial, before=(), tool="Ray", **options):
        trials = Trials(str(tmp_path / "all.json"), {}, bigger=True)
        for record in before:
            trials.add(record)
        given, _ = split_arguments({"tool": tool, "algo": "exhaustive", **options})
        job = SearchJob(SPACE, trial, trials, partial(trials.add), seed=1, epochs=3)
        TOOLS[tool](given).run(job)
        return {record["settings"]["a"]: record for record in trials.records}

    return run


def test_every_tool_has_a_name_and_declared_options():
    declared = declared_in(tune_yaml())
    assert {*TOOLS} == {*declared["tool"].choices}
    for tool in TOOLS.values():
        assert {*tool.own_options} <= {*declared}
        assert {*tool.algos} <= {*declared["algo"].choices}
    default = TOOLS[declared["tool"].default]
    assert declared["algo"].default == default.algos[0]


@pytest.mark.parametrize("tool", [*TOOLS])
def test_trials_that_ended_are_not_run_again(searched, tool):
    pytest.importorskip("hyperopt")
    known = {"settings": {"a": 2}, "status": "failed", "score": None}
    stopped = {"settings": {"a": 3}, "status": "stopped", "score": 0.5}
    records = searched(scored, [known, stopped], tool)
    assert records[2] == known
    assert records[1]["score"] == 1.0 and records[3]["score"] == 3.0


def test_a_trial_that_was_ended_early_is_enough_where_that_was_asked_for(searched):
    stopped = {"settings": {"a": 3}, "status": "stopped", "score": 0.5}
    records = searched(scored, [stopped], scheduler="asha")
    assert records[3] == stopped and set(records) == {1, 2, 3}


def test_a_trial_keeps_to_the_gpu_that_it_was_given(searched, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert searched(scored, gpus_per_trial="0.5")[1]["more"] == ["--gpu_id=3"]
    before = [{"settings": {"a": 1}, "status": "stopped", "score": 0.5}]
    assert searched(scored, before)[1]["more"] == []


def test_what_every_trial_would_fail_at_ends_the_search_of_ray(searched):
    with pytest.raises(RecBoleCompressError, match="no folder"):
        searched(without_data)
