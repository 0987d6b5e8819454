"""Two hosts with a network between them: network namespaces with names and folders of their own.

Needs root on Linux and ``ip``; skipped without.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml

from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.trainers.checkpoint import load_checkpoint
from tests.conftest import SEQUENCES, write_interactions
from tests.distributed import jobs

HOSTS = ("recbolehost0", "recbolehost1")
TORCHRUN = ["torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d"]
TORCHRUN += ["--rdzv-id=two", f"--rdzv-endpoint={HOSTS[0]}:29500", "-m"]
OWN_KEYS = ["--nproc=1", "--world_size=2", f"--ip={HOSTS[0]}", "--port=5678"]
# The module to run, and what each host is told beside the run's settings.
WAYS = {
    "torchrun": (TORCHRUN, ([], [])),
    "RecBole's keys": ([], (OWN_KEYS, [*OWN_KEYS, "--group_offset=1"])),
}


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def hosts():
    """Two, each with its own loopback, one link between them, and names for both of its ends."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "hostname"))):
        pytest.skip("needs root, ip, unshare and hostname")
    names = "".join(f"10.231.7.{n} {host}\n" for n, host in enumerate(HOSTS, 1))
    try:
        try:
            for host in HOSTS:
                ip("netns", "add", host)
            link = ["link", "add", "link0", "netns", HOSTS[0], "type", "veth"]
            ip(*link, "peer", "name", "link1", "netns", HOSTS[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr}")
        for n, host in enumerate(HOSTS):
            ip("-n", host, "addr", "add", f"10.231.7.{n + 1}/24", "dev", f"link{n}")
            for device in (f"link{n}", "lo"):
                ip("-n", host, "link", "set", device, "up")
            folder = Path("/etc/netns", host)  # what lies here is /etc to `ip netns exec`
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "hosts").write_text("127.0.0.1 localhost\n" + names)
        yield HOSTS
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", host], capture_output=True, check=False)
            shutil.rmtree(Path("/etc/netns", host), ignore_errors=True)


def on(host: str, folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    """A command on that host, in a folder that the other one does not write to."""
    folder.mkdir()
    named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host]
    return subprocess.run(
        ["ip", "netns", "exec", host, *named, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=folder,
    )


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_two_hosts_do_what_one_does(in_tmp, hosts, way):
    data = write_interactions(in_tmp, "tiny", SEQUENCES)
    model = "CpRecNextItNet"
    settings = {**jobs.SETTINGS, **jobs.MODELS[model], "data_path": data, "epochs": 1}
    Path("run.yaml").write_text(yaml.safe_dump(settings))
    launcher, told = WAYS[way]
    command = [sys.executable, "-m", *launcher, "recbole_compress", "run", f"--model={model}"]
    command += ["--dataset=tiny", f"--config_files={in_tmp / 'run.yaml'}", "--card_path=card.json"]
    folders = [in_tmp / host for host in hosts]
    with ThreadPoolExecutor() as pool:
        both = list(
            pool.map(
                lambda host, folder, own: on(host, folder, [*command, *own]), hosts, folders, told
            )
        )
    assert [ran.returncode for ran in both] == [0, 0], [ran.stderr for ran in both]

    # The first one writes; the other has no part of its disk.
    card = json.loads((folders[0] / "card.json").read_text())
    assert card["training"]["processes"] == 2
    (checkpoint,) = map(str, in_tmp.rglob("saved/*.pth"))
    assert checkpoint.startswith(str(folders[0])) and not list(folders[1].glob("*.json"))
    # Same weights, same metrics; trained alone, the same weights but for rounding.
    again = run_recbole_compress(config_dict={**settings, "resume": checkpoint, "nproc": 1})
    assert dict(again["test_result"]) == card["metrics"]["test"]
    _, alone = jobs.run(model, settings)
    for key, tensor in load_checkpoint(checkpoint)["state_dict"].items():
        torch.testing.assert_close(tensor, alone[key], rtol=1e-3, atol=1e-4)
