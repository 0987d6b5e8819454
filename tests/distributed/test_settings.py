"""How many processes, where: refusals in one line, and what torchrun says."""

from __future__ import annotations

import pytest
import torch

from recbole_compress.config import Config
from recbole_compress.distributed import settings
from recbole_compress.distributed.place import Place, here
from recbole_compress.errors import ConfigError
from recbole_compress.quick_start.command_line import main


def config(*arguments):
    return Config("SASRec", "ml-100k", command_line=list(arguments))


@pytest.fixture
def four_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")


@pytest.fixture
def torchrun(monkeypatch):
    def start(**names):
        names = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500", **names}
        for name, value in names.items():
            monkeypatch.setenv(name, str(value))

    return start


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--nproc=0"], "nproc=0: a run needs 1 or more"),
        (["--nproc=2", "--world_size=1"], "world_size=1: fewer than"),
        (["--nproc=2", "--world_size=3", "--group_offset=2"], "group_offset=2 and nproc=2"),
        (["--local_rank=1"], "local_rank=1: the launcher numbers"),
        (["--nproc=two"], "nproc='two'"),
    ],
)
def test_contradictions_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        config(*arguments)


def test_the_command_line_says_so_once_and_starts_nothing(in_tmp, capfd):
    assert main(["--model=SASRec", "--dataset=ml-100k", "--nproc=2", "--epoch=3"]) == 2
    assert capfd.readouterr().err.count("error: epoch (command line): unknown key") == 1
    assert not (in_tmp / "log").exists()


def test_one_gpu_per_process(four_gpus):
    assert config("--nproc=4")["nproc"] == 4  # RecBole's default gpu_id would allow one
    with pytest.raises(ConfigError, match="nproc=5: more processes than the 4 GPU"):
        config("--nproc=5")
    with pytest.raises(ConfigError, match="nproc=3: more processes than the 2 GPU"):
        config("--nproc=3", "--gpu_id=0,1")
    assert config("--nproc=5", "--use_gpu=False")["device"] == torch.device("cpu")


def test_torchruns_processes_take_their_devices(four_gpus, torchrun):
    torchrun(RANK=6, LOCAL_RANK=2, WORLD_SIZE=8, LOCAL_WORLD_SIZE=4)
    assert here() == Place(rank=6, local_rank=2, world_size=8, local_world_size=4)
    made = config()
    assert made["device"] == torch.device("cuda", 2)
    assert made["single_spec"] is True
    assert made["show_progress"] is False
    with pytest.raises(ConfigError, match="nproc=2: torchrun has started 4 processes"):
        config("--nproc=2")


def test_a_broken_environment_is_named(torchrun):
    torchrun(RANK="x", LOCAL_RANK=0, WORLD_SIZE=2)
    with pytest.raises(ConfigError, match="RANK='x': expected a number"):
        here()
    torchrun(RANK=2)
    with pytest.raises(ConfigError, match="RANK=2"):
        here()


@pytest.mark.parametrize("own", [None, "6"])
def test_threads_fit_the_cores(monkeypatch, own):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if own:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    monkeypatch.setattr(settings.os, "sched_getaffinity", lambda pid: range(12), raising=False)
    for processes in (1, 2, 3, 6, 20):
        threads = settings.threads_per_process(processes)
        assert 1 <= threads <= 6
        assert processes * threads <= max(12, processes)
    assert settings.threads_per_process(2) == (6 if own else 3)
