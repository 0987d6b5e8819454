"""Experiments are data: every run of every settings file is one that the command line accepts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from recbole_compress.config import Config

SETTINGS = sorted((Path(__file__).parents[2] / "benchmarks" / "settings").glob("*.yaml"))


@pytest.mark.parametrize("file", SETTINGS, ids=lambda file: file.stem)
def test_every_run_is_accepted(file):
    experiment = yaml.safe_load(file.read_text())
    assert experiment["about"].strip()
    assert experiment["seeds"]
    for name, settings in experiment["runs"].items():
        merged = {**experiment["shared"], **settings, "seed": experiment["seeds"][0]}
        config = Config(config_dict=merged)
        assert config["dataset"] == experiment["shared"]["dataset"], name
        for key, value in settings.items():
            assert config[key] == value, name
