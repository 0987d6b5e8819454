"""Two processes, started for real: same steps, same results, one end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from recbole_compress.distributed.launcher import launch
from recbole_compress.errors import ConfigError, TrainingError
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.trainers.checkpoint import load_checkpoint
from recbole_compress.trainers.ranks import read_ranks
from tests.conftest import SEQUENCES, write_interactions
from tests.distributed import jobs
from tests.marks import slow

TWO = {"nproc": 2, "world_size": None, "group_offset": 0, "ip": "localhost", "port": None}


@pytest.mark.parametrize(
    "names", [pytest.param(jobs.FEW, id="few"), slow([*jobs.RUNS], id="every one")]
)
def test_two_processes_do_what_one_does(in_tmp, names):
    path = write_interactions(in_tmp, "tiny", SEQUENCES)
    launch(jobs.all_runs, {"data_path": path, "names": names}, TWO)
    results, others = (json.loads(Path(f"results{rank}.json").read_text()) for rank in (0, 1))
    weights, weights_of_other = (torch.load(f"weights{rank}.pt") for rank in (0, 1))

    assert results == others  # cards and all
    for name, tensors in weights.items():
        for key, tensor in tensors.items():
            assert tensor.equal(weights_of_other[name][key]), (name, key)

    for name in names:
        model, more = jobs.RUNS[name]
        settings = {**jobs.SETTINGS, **jobs.MODELS[model], **more, "data_path": path}
        single, alone = jobs.run(model, {**settings, "ranks_path": None})
        assert results[name]["card"]["training"]["processes"] == 2
        assert single["card"]["training"]["processes"] == 1
        for key, tensor in alone.items():
            # Adam divides a gradient by its own size: what is all rounding moves by a whole step.
            torch.testing.assert_close(weights[name][key], tensor, rtol=1e-3, atol=1e-4)

        # Same weights, same metrics: the checkpoint of two processes, in one.
        checkpoint = results[name]["checkpoint"]
        of_one = {"resume": checkpoint, "nproc": 1}
        if "ranks_path" in more:
            together = read_ranks(more["ranks_path"])
            of_one["ranks_path"] = "alone.npz"
        again = run_recbole_compress(config_dict={**settings, **of_one})
        if "eval_args" not in more:  # a finished training does not draw what came before the test
            assert again["test_result"] == results[name]["test_result"], name
        assert load_checkpoint(checkpoint)["config"]["single_spec"] is True

    for ours, theirs in zip(together, read_ranks("alone.npz"), strict=True):
        assert np.array_equal(ours, theirs)

    # Each process goes on with its own dropout.
    for key, tensor in weights["whole"].items():
        assert tensor.equal(weights["resumed"][key]), key
    assert results["resumed"]["test_result"] == results["whole"]["test_result"]

    written = len(names) + 2  # by the first process only
    assert len(list(Path("saved").glob("*.card.json"))) == written + len(names)
    assert len(list(Path("saved").glob("*.pth"))) <= written + 2 * len(names)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def pids() -> list[int]:
    return [int(Path(f"pid{rank}").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize(
    ("way", "error", "message"),
    [
        ("killed", TrainingError, "process 1 of 2 was ended by SIGKILL"),
        slow("mendable", TrainingError, "^the loss is nan$"),
        slow("bug", RuntimeError, "ZeroDivisionError: a bug"),
        slow("silent", TrainingError, "exit code 3"),
    ],
)
def test_one_that_dies_ends_all(in_tmp, way, error, message):
    with pytest.raises(error, match=message) as caught:
        launch(jobs.dies, {"way": way}, TWO)
    assert way == "bug" or "\n" not in str(caught.value)
    assert all(map(gone, pids()))


def test_a_taken_port_is_refused_in_one_line(in_tmp):
    store = torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    with pytest.raises(ConfigError, match=f"port={store.port}: it cannot be opened") as caught:
        launch(jobs.ranks, {}, {**TWO, "port": store.port})
    assert "\n" not in str(caught.value)


def test_what_cannot_be_sent_is_refused_by_its_name(in_tmp):
    told = "^topk=<function .*cannot be sent to other processes"
    with pytest.raises(ConfigError, match=told) as caught:
        launch(jobs.ranks, {"config_dict": {"topk": lambda: None}}, TWO)
    assert "\n" not in str(caught.value)


def free_port() -> int:
    store = torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    return store.port


@pytest.mark.slow
def test_two_machines_meet_at_the_first(in_tmp):
    both = {"nproc": 1, "world_size": 2, "ip": "localhost", "port": free_port()}
    script = (
        "from recbole_compress.distributed.launcher import launch\n"
        "from tests.distributed import jobs\n"
        "if __name__ == '__main__': print(launch(jobs.ranks, {{}}, {settings!r}))\n"
    )

    def machine(offset):
        Path(f"machine{offset}.py").write_text(
            script.format(settings={**both, "group_offset": offset})
        )
        return subprocess.check_output([sys.executable, f"machine{offset}.py"], text=True)

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(machine, (0, 1))) == ["[0, 1]\n", "[0, 1]\n"]


@pytest.mark.slow
@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_none_outlives_the_launcher(in_tmp, way):
    Path("main.py").write_text(
        "from recbole_compress.distributed.launcher import launch\n"
        "from tests.distributed import jobs\n"
        f"if __name__ == '__main__': launch(jobs.sleeps, {{}}, {TWO!r})\n"
    )
    launcher = subprocess.Popen([sys.executable, "main.py"], stderr=subprocess.DEVNULL)
    wait_for(lambda: all(Path(f"pid{rank}").exists() for rank in (0, 1)))
    time.sleep(0.5)
    os.kill(launcher.pid, way)
    assert launcher.wait(20) != 0
    wait_for(lambda: all(map(gone, pids())))


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def torchrun(launch: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """One torchrun, to its end."""
    command = [sys.executable, "-m", "torch.distributed.run", *launch, "-m", "recbole_compress"]
    command += ["run", "--dataset=tiny", "--epochs=1", "--card_path=card.json", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["", "--seed=x", "--resume=nothing.pth"])
def test_torchrun(in_tmp, fault):
    path = write_interactions(in_tmp, "tiny", SEQUENCES)
    given = [f"--data_path={path}", *filter(None, [fault])]
    ran = torchrun(["--nproc-per-node=2"], "--model=SASRec", *given)
    if fault:
        assert ran.returncode != 0
        assert len([line for line in ran.stderr.splitlines() if line.startswith("error:")]) == 1
        return
    assert ran.returncode == 0, ran.stderr
    assert json.loads(Path("card.json").read_text())["training"]["processes"] == 2
    assert ran.stderr.count("Saved saved/") == 1


@pytest.mark.slow
@pytest.mark.parametrize("model", ["SASRec", "CpRecNextItNet"])
def test_torchrun_on_two_machines(in_tmp, model):
    """Both here, in one folder: what one process of each does, one process alone does."""
    path = write_interactions(in_tmp, "tiny", SEQUENCES)
    settings = {**jobs.SETTINGS, **jobs.MODELS[model], "data_path": path, "epochs": 1}
    Path("run.yaml").write_text(yaml.safe_dump({**settings, "state": "INFO"}))
    launch = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-id=two"]
    launch.append(f"--rdzv-endpoint=127.0.0.1:{free_port()}")
    given = [f"--model={model}", "--config_files=run.yaml"]
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: torchrun(launch, *given), (0, 1)))
    assert [ran.returncode for ran in both] == [0, 0], [ran.stderr for ran in both]

    card = json.loads(Path("card.json").read_text())
    assert card["training"]["processes"] == 2
    (checkpoint,) = map(str, Path("saved").rglob("*.pth"))
    assert sum(ran.stderr.count("Saved saved/") for ran in both) == 1
    # Same weights, same metrics.
    again = run_recbole_compress(config_dict={**settings, "resume": checkpoint, "nproc": 1})
    assert again["card"]["training"]["processes"] == 1
    assert dict(again["test_result"]) == card["metrics"]["test"]
    # Trained alone, the weights are the same but for rounding.
    _, alone = jobs.run(model, settings)
    for key, tensor in load_checkpoint(checkpoint)["state_dict"].items():
        torch.testing.assert_close(tensor, alone[key], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus(in_tmp):
    path = write_interactions(in_tmp, "tiny", SEQUENCES)
    settings = {**jobs.SETTINGS, **jobs.MODELS["CpRecNextItNet"], "data_path": path}
    single = run_recbole_compress("CpRecNextItNet", "tiny", config_dict=dict(settings))
    several = run_recbole_compress("CpRecNextItNet", "tiny", config_dict={**settings, "nproc": 2})
    assert several["card"]["training"]["processes"] == 2
    ours, theirs = (load_checkpoint(r["checkpoint"])["state_dict"] for r in (several, single))
    for key, tensor in theirs.items():
        torch.testing.assert_close(ours[key], tensor, rtol=1e-2, atol=1e-3)
    again = run_recbole_compress(
        config_dict={**settings, "resume": several["checkpoint"], "nproc": 1}
    )
    assert again["test_result"] == several["test_result"]
