"""Ray Tune; all but the choice of points needs ray, which the default environment does not have."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.tuning.ray_search import points_to_try
from recbole_compress.tuning.space import Choice, LogUniform, Space


def test_points_are_those_of_the_space_each_once():
    grid = Space([Choice("a", "", (1, 2, 3)), Choice("b", "", ("x", "y"))])
    points = points_to_try(grid, "exhaustive", None, seed=1)
    assert sorted(map(repr, points)) == sorted(repr(grid.point(n)) for n in range(6))
    assert points_to_try(grid, "exhaustive", 4, seed=1) == points[:4]
    assert len(points_to_try(grid, "random", 100, seed=1)) == 6
    scale = Space([LogUniform("a", "", -9, 0)])
    drawn = points_to_try(scale, "random", 10, seed=1)
    assert drawn == points_to_try(scale, "random", 10, seed=1)
    assert len(drawn) == 10 and all(math.exp(-9) <= point["a"] <= 1 for point in drawn)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("--algo=bayes", "take --algo=random"), ("--early_stop=3", "works with --tool=Hyperopt only")],
)
def test_what_ray_cannot_do_is_refused(job, capsys, wrong, message):
    assert main(["tune", *job, "--tool=Ray", wrong]) == 2
    assert message in capsys.readouterr().err


def test_a_trial_keeps_to_its_cores_and_finds_its_data_from_any_folder(job, in_tmp, monkeypatch):
    from recbole_compress.config import Config
    from recbole_compress.quick_start.tune import _of_every_trial
    from recbole_compress.tuning.arguments import split_arguments
    from recbole_compress.tuning.ray_tool import RayTool

    given = {"tool": "Ray", "cpus_per_trial": "3", "data_path": "."}
    options, fixed = split_arguments(given)
    config = Config("CpRecGRU4Rec", "tiny", command_line=["--data_path=."])
    arguments = _of_every_trial(RayTool(options), fixed, config)
    (in_tmp / "elsewhere").mkdir()
    monkeypatch.chdir(in_tmp / "elsewhere")
    trial = Config(command_line=arguments)
    assert (trial["threads"], trial["use_gpu"]) == (3, False)
    assert trial["data_path"] == str(in_tmp / "tiny")
    options, fixed = split_arguments({**given, "threads": "1", "gpus_per_trial": "0.5"})
    arguments = _of_every_trial(RayTool(options), fixed, config)
    assert {"--threads=1", "--use_gpu=True"} <= set(arguments)


def test_a_ray_that_does_not_start_is_one_line(job, write_space, monkeypatch, capsys):
    stopped = []

    def init(**_):
        raise Exception("The current node timed out during startup.\nThis could happen because")

    ray = ModuleType("ray")
    vars(ray).update(init=init, is_initialized=lambda: False, shutdown=lambda: stopped.append(True))
    ray.tune = ModuleType("ray.tune")  # as much of it as is looked at before Ray starts
    names = ("Tuner", "TuneConfig", "RunConfig", "with_resources", "report")
    vars(ray.tune).update(dict.fromkeys(names), Callback=object)
    for name, module in (("ray", ray), ("ray.tune", ray.tune)):
        monkeypatch.setitem(sys.modules, name, module)
    space = write_space("learning_rate choice [0.02]")
    assert main(["tune", *job, "--tool=Ray", "--algo=exhaustive", space]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == (
        "error: Ray does not start here: The current node timed out during startup."
    )
    assert "Traceback" not in "".join(said) and stopped


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.tune")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.mark.filterwarnings("default")  # ray's own are not ours to mend
def test_trials_in_other_processes_give_what_a_run_gives(ray, job, write_space, capsys):
    space = write_space("learning_rate choice [0.02,0.001]", "n_item_blocks choice [2,500]")
    relative = [a if not a.startswith("--data_path") else "--data_path=." for a in job]
    tune = ["tune", *relative, "--tool=Ray", space, "--algo=exhaustive", "--output_file=a.result"]
    assert main(tune) == 0
    trials = json.loads(Path("a.json").read_text())["trials"]
    finished = [trial for trial in trials if trial["status"] == "finished"]
    failed = [trial for trial in trials if trial["status"] == "failed"]
    assert {trial["settings"]["learning_rate"] for trial in finished} == {0.02, 0.001}
    assert len(failed) == 2 and all("n_item_blocks=500" in trial["error"] for trial in failed)
    best = max(finished, key=lambda trial: trial["score"])
    assert best["settings"].items() <= yaml.safe_load(Path("a.yaml").read_text()).items()
    result = run_recbole_compress(config_file_list=["a.yaml"])
    assert result["best_valid_score"] == best["score"]
    assert dict(result["test_result"]) == best["test"]
    assert main(tune) == 0
    assert "4 trials, which are not run again" in capsys.readouterr().out
    assert json.loads(Path("a.json").read_text())["trials"] == trials


@pytest.mark.filterwarnings("default")
def test_asha_ends_trials_and_none_of_those_is_best(ray, job, write_space):
    long = [a for a in job if not a.startswith("--epochs")] + ["--epochs=6"]
    space = write_space("learning_rate choice [0.02,0.01,1e-6,1e-7,1e-8,1e-9]")
    tune = ["tune", *long, "--tool=Ray", "--scheduler=asha", space, "--algo=exhaustive"]
    assert main([*tune, "--output_file=a.result"]) == 0
    trials = json.loads(Path("a.json").read_text())["trials"]
    stopped = [trial for trial in trials if trial["status"] == "stopped"]
    assert len(trials) == 6 and stopped
    assert all(trial["epochs"] < 6 for trial in stopped)
    assert {"finished", "stopped"} == {trial["status"] for trial in trials}
    best = max(
        (trial for trial in trials if trial["status"] == "finished"), key=lambda t: t["score"]
    )
    settings = yaml.safe_load(Path("a.yaml").read_text())
    assert settings["learning_rate"] == best["settings"]["learning_rate"]


@pytest.mark.filterwarnings("default")
def test_what_every_trial_would_fail_at_is_one_line(ray, job, write_space, capsys):
    space = write_space("learning_rate choice [0.02]")
    assert main(["tune", *job[:2], "--data_path=nowhere", *job[3:], "--tool=Ray", space]) == 2
    assert "no folder" in capsys.readouterr().err


@pytest.mark.filterwarnings("default")
def test_more_than_there_is_is_refused(ray, job, capsys):
    assert main(["tune", *job, "--tool=Ray", "--cpus_per_trial=64"]) == 2
    assert "cpus_per_trial=64: Ray sees 2 here" in capsys.readouterr().err
