"""Which settings a run that lies there was begun with, those it left open included."""

from __future__ import annotations

import json

import pytest
import yaml

from recbole_compress.comparison.experiment import Planned
from recbole_compress.comparison.finished import has_settings_of
from recbole_compress.comparison.run_files import RunFiles
from recbole_compress.comparison.settings import CheckedRun
from recbole_compress.config import Config
from recbole_compress.trainers.checkpoint import plain_config, save_checkpoint

OPEN = {"model": "TTSASRec", "recipe": "distillation", "tt_item_order": "scattered"}
TODAY, BEFORE = {"kd_contrastive_weight": 0.0}, {"kd_contrastive_weight": 0.2}
PLANNED = Planned("tiny", "student", 1, {}, {}, {})


def lies_there(folder, settings, choices=None, checkpoint=None):
    files = RunFiles.of(folder, PLANNED)
    files.checkpoints.mkdir(parents=True)
    files.settings.write_text(yaml.safe_dump(settings))
    if choices is not None:
        files.card.write_text(
            json.dumps({"choices": choices, "metrics": {}, "files": {"checkpoint": "a.pth"}})
        )
    if checkpoint is not None:
        config = plain_config(Config(dataset="tiny", config_dict={**OPEN, **checkpoint}))
        save_checkpoint({"config": config, "state_dict": {}}, str(files.checkpoints / "a.pth"))
    return files


@pytest.mark.parametrize(
    ("told", "stood_for"),
    [
        ({"choices": TODAY}, TODAY),
        ({"choices": BEFORE}, BEFORE),
        ({"choices": {}}, BEFORE),  # no card since the change is silent
        ({"choices": {}, "checkpoint": TODAY}, TODAY),
        ({"checkpoint": BEFORE}, BEFORE),  # cut off
    ],
    ids=str,
)
def test_what_was_left_open_is_what_the_default_was_then(tmp_path, told, stood_for):
    files = lies_there(tmp_path, OPEN, **told)

    def known(settings, **left_open):
        run = CheckedRun(PLANNED, settings, {}, "ndcg@10", True, "", left_open)
        return has_settings_of(run, files)

    assert known(OPEN, **TODAY) == (stood_for == TODAY)
    # Said today, and left open then.
    assert known({**OPEN, **BEFORE}) == (stood_for == BEFORE)
    assert known({**OPEN, **TODAY}) == (stood_for == TODAY)
    assert not known({**OPEN, "epochs": 3, **stood_for})


@pytest.mark.parametrize(
    ("weight", "today", "before"),
    [("kd_soft_target_weight", 0.4, 0.8), ("kd_predictive_weight", 0.0, 0.001)],
)
def test_cards_of_either_default_may_be_silent(tmp_path, weight, today, before):
    run = CheckedRun(PLANNED, OPEN, {}, "ndcg@10", True, "", {weight: today})
    silent = {"choices": TODAY}
    assert has_settings_of(run, lies_there(tmp_path / "results alone", OPEN, **silent))
    for noted in (today, before):
        files = lies_there(tmp_path / str(noted), OPEN, **silent, checkpoint={weight: noted})
        assert has_settings_of(run, files) == (noted == today)


def test_where_and_how_fast_a_run_went_makes_it_no_other_run(tmp_path):
    files = lies_there(tmp_path, {"model": "Pop", "threads": 1, "epochs": 3}, choices={})
    for now, same in (({"use_gpu": False, "epochs": 3}, True), ({"epochs": 4}, False)):
        run = CheckedRun(PLANNED, {"model": "Pop", **now}, {}, "ndcg@10", True, "", {})
        assert has_settings_of(run, files) == same


def test_what_was_said_is_not_what_is_left_open(tmp_path):
    files = lies_there(tmp_path, {**OPEN, **BEFORE}, choices=BEFORE)
    run = CheckedRun(PLANNED, OPEN, {}, "ndcg@10", True, "", TODAY)
    assert not has_settings_of(run, files)


def test_nothing_says_what_a_run_that_has_only_begun_left_open(tmp_path):
    files = lies_there(tmp_path, OPEN)
    for settings, left_open, same in ((OPEN, TODAY, True), ({**OPEN, **TODAY}, {}, False)):
        run = CheckedRun(PLANNED, settings, {}, "ndcg@10", True, "", left_open)
        assert has_settings_of(run, files) == same
