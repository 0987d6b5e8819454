"""Experiments are data: every run of every settings file is one that the command line accepts."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_compress.comparison.experiment import read_experiment
from recbole_compress.comparison.settings import checked_runs
from recbole_compress.config.model_names import quantized_of
from recbole_compress.quick_start.checks import check_run

SETTINGS = sorted((Path(__file__).parents[2] / "benchmarks" / "settings").glob("*.yaml"))


@pytest.mark.parametrize("file", SETTINGS, ids=lambda file: file.stem)
def test_every_run_is_accepted(file, tmp_path):
    experiment = read_experiment(file)
    assert experiment.about
    for dataset in experiment.datasets:  # public data is not part of the checkout
        (tmp_path / dataset).mkdir()
    chosen = experiment.selected(common={"data_path": str(tmp_path)})
    for run in checked_runs(chosen.planned(), check_run):
        for key, value in run.planned.own.items():
            trained = quantized_of(value) if key == "model" else None  # DFQ<Model> is a <Model>
            assert run.settings[key] == (trained or value), run.planned
        for key in run.planned.shared.keys() - run.planned.own.keys():
            # a shared key goes to the models that know it
            known = run.planned.shared[key]
            assert run.settings.get(key, known) == known, run.planned
