"""How many processes a run has, on which devices, with how many threads each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from recbole_compress.distributed.place import here, started_by_torchrun
from recbole_compress.errors import ConfigError

__all__ = [
    "KEYS_OF_A_LAUNCH",
    "check_processes",
    "name_gpus",
    "process_settings",
    "starts_processes",
    "threads_per_process",
]

# Where and among whom a process runs: true of one launch, not of what is trained.
KEYS_OF_A_LAUNCH = ("world_size", "ip", "port", "group_offset", "offset", "local_rank")


def starts_processes(settings: Mapping[str, Any]) -> bool:
    """Whether the run needs processes that are not there yet."""
    if here().world_size > 1 or started_by_torchrun():
        return False
    return world_size_of(settings) > 1


def world_size_of(settings: Mapping[str, Any]) -> int:
    """Processes on all machines together; RecBole writes -1 for ``nproc``.

    Example:
        >>> world_size_of({"nproc": 2, "world_size": -1}), world_size_of({"nproc": None})
        (2, 1)
    """
    given = settings.get("world_size")
    return given if given is not None and given > 0 else _processes_here(settings)


def _processes_here(settings: Mapping[str, Any]) -> int:
    return 1 if settings.get("nproc") is None else settings["nproc"]


def check_processes(settings: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse numbers of processes that contradict each other or this machine.

    Args:
        settings: All settings of the run.
        given: Those that the user gave.

    Raises:
        ConfigError: In one line, with what to write instead.
    """
    place, nproc = here(), _processes_here(settings)
    if nproc < 1:
        raise ConfigError(f"nproc={nproc}: a run needs 1 or more processes")
    if given.get("local_rank", place.local_rank) != place.local_rank:
        raise ConfigError(
            f"local_rank={given['local_rank']}: the launcher numbers the processes; leave it out "
            "and say how many with --nproc, or start with torchrun"
        )
    if started_by_torchrun():
        if given.get("nproc", place.local_world_size) != place.local_world_size:
            raise ConfigError(
                f"nproc={nproc}: torchrun has started {place.local_world_size} processes on this "
                "machine; leave nproc out"
            )
        nproc = place.local_world_size
    else:
        world_size, offset = world_size_of(settings), settings.get("group_offset") or 0
        if offset < 0 or world_size < offset + nproc:
            raise ConfigError(
                f"world_size={world_size}: fewer than group_offset={offset} and nproc={nproc} "
                "together; world_size counts the processes of all machines, group_offset those of "
                "the machines before this one"
            )
    gpus = _gpus(settings, given)
    if gpus and nproc > gpus:
        raise ConfigError(
            f"nproc={nproc}: more processes than the {gpus} GPU(s) to be used; take "
            f"--nproc={gpus}, name more GPUs such as --gpu_id=0,1, or train "
            "on the CPU with --use_gpu=False"
        )


def _gpus(settings: Mapping[str, Any], given: Mapping[str, Any]) -> int:
    """GPUs that the run may use; 0 on a CPU."""
    named = _named_gpus(settings)
    if not settings.get("use_gpu", True) or not named or not torch.cuda.is_available():
        return 0
    there = torch.cuda.device_count()
    # RecBole's default names one GPU; who starts several processes means as many GPUs.
    return min(len(named), there) if "gpu_id" in given else there


def _named_gpus(settings: Mapping[str, Any]) -> list[str]:
    gpu_id = settings["gpu_id"]
    text = ",".join(map(str, gpu_id)) if isinstance(gpu_id, (tuple, list)) else str(gpu_id)
    return [name.strip() for name in text.split(",") if name.strip()]


def name_gpus(settings: Mapping[str, Any]) -> None:
    """Let torch see the GPUs that ``gpu_id`` names and no others; it looks once in a process."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(_named_gpus(settings))


def process_settings(settings: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What RecBole's ``_init_device`` would set, for a run in several processes.

    ``single_spec`` stays on: with it RecBole's own shares, reductions and markers in checkpoints
    stay away, and ours take their place.
    """
    place = here()
    if "gpu_id" in given:  # else the launcher's or the user's choice in the environment stands
        name_gpus(settings)
    on_gpu = _gpus(settings, given) > 0
    if on_gpu and not place.is_alone:
        torch.cuda.set_device(place.local_rank)
    changed = {
        "gpu_id": ",".join(_named_gpus(settings)),
        "single_spec": True,
        "local_rank": place.local_rank,
        "device": torch.device("cuda", place.local_rank) if on_gpu else torch.device("cpu"),
    }
    if not place.is_first:
        changed |= {"show_progress": False, "log_wandb": False}
    return changed


def threads_per_process(processes: int) -> int:
    """Threads of torch in each of ``processes`` processes on this machine, at least 1.

    Together no more than there are cores to run on: OpenMP's threads wait for each other busily,
    and two teams on the same cores slow each other down many times over.

    Example:
        >>> 1 <= threads_per_process(2) <= threads_per_process(1) <= torch.get_num_threads()
        True
    """
    torchs = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if "OMP_NUM_THREADS" in os.environ:  # already meant for one process
        return max(1, min(torchs, (cores or 1) // processes))
    return max(1, min(torchs, cores or 1) // processes)
