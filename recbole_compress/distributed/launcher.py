"""Starting the processes of one machine and ending them together."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch.distributed as dist
import torch.multiprocessing as mp

from recbole_compress import errors
from recbole_compress.distributed.place import Place, take
from recbole_compress.distributed.settings import world_size_of
from recbole_compress.errors import (
    ConfigError,
    RecBoleCompressError,
    TrainingError,
    first_line,
)

__all__ = ["launch"]

RECBOLES_PORT = 5678
_SECONDS_TO_END = 5.0
_SECONDS_TO_LEAVE = 30.0


@dataclass(frozen=True)
class _Plan:
    """What a started process needs to find its place."""

    ip: str
    port: int
    nproc: int
    world_size: int
    offset: int


def launch(
    job: Callable[..., Any], arguments: Mapping[str, Any], settings: Mapping[str, Any]
) -> Any:
    """Run ``job(**arguments)`` in ``nproc`` processes of this machine.

    When one fails, all end; so they do when this process is interrupted or dies.

    Args:
        job: A function that a fresh Python can import.
        arguments: Its arguments, all of which can be pickled.
        settings: ``nproc``; for several machines also ``world_size``, ``group_offset``, and ``ip``
            and ``port`` of the first one. Without a port a free one is taken.

    Returns:
        What the job returned in this machine's first process, as far as JSON can say it.

    Raises:
        ConfigError: An argument that cannot be pickled; an address that cannot be met at.
        RecBoleCompressError: What a process raised, the first one in time; or that one ended
            without a word.
        RuntimeError: Any other error of a process, with its traceback.
    """
    _check_arguments(arguments)
    store, plan = _meeting_point(settings)
    quieter = {} if "TORCH_CPP_LOG_LEVEL" in os.environ else {"TORCH_CPP_LOG_LEVEL": "ERROR"}
    os.environ.update(quieter)  # torch's own chatter when a peer is gone; ours is one line
    processes: list[Any] = []
    try:
        processes = mp.start_processes(
            _process, (job, dict(arguments), plan), plan.nproc, join=False, start_method="spawn"
        ).processes
        _wait(processes, store)
    finally:
        _end(processes)
        for name in quieter:
            del os.environ[name]
    if not store.check([f"result/{plan.offset}"]):
        raise TrainingError("the processes ended without a result: nothing was finished")
    result = json.loads(store.get(f"result/{plan.offset}"))
    _take_leave(store, plan)
    return result


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse what another process cannot be told, such as a lambda in ``config_dict``."""
    for name, value in arguments.items():
        for key, each in value.items() if isinstance(value, Mapping) else [(name, value)]:
            try:
                ForkingPickler.dumps(each)
            except Exception as error:  # of any kind: what is pickled says itself why it is not
                raise ConfigError(
                    f"{key}={each!r}: cannot be sent to other processes ({error}); name something "
                    "that they can import, or leave nproc out"
                ) from error


def _take_leave(store: Any, plan: _Plan) -> None:
    """The first machine keeps the store open until the others have read from it."""
    done, end = store.add("done", plan.nproc), time.monotonic() + _SECONDS_TO_LEAVE
    while plan.offset == 0 and done < plan.world_size and time.monotonic() < end:
        time.sleep(0.1)
        done = store.add("done", 0)


def _meeting_point(settings: Mapping[str, Any]) -> tuple[Any, _Plan]:
    """The store that the processes meet at: here, or on the machine whose ``group_offset`` is 0."""
    nproc, world_size = settings["nproc"] or 1, world_size_of(settings)
    offset, ip = settings["group_offset"] or 0, settings["ip"] or "localhost"
    # On one machine torch takes a free port; several must agree on one beforehand.
    given = settings["port"] or (0 if nproc == world_size else RECBOLES_PORT)
    try:
        store = dist.TCPStore(
            "localhost" if offset == 0 else ip,
            int(given),
            is_master=offset == 0,
            wait_for_workers=False,
        )
    except ValueError:
        raise ConfigError(f"port={given!r}: expected a number from 1 to 65535") from None
    except dist.DistError as error:
        reason = first_line(error)
        raise ConfigError(
            f"ip={ip}, port={given}: "
            + ("it cannot be opened here" if offset == 0 else "nobody answers there")
            + f" ({reason}); name another port, or on one machine leave it out"
        ) from error
    return store, _Plan("localhost" if offset == 0 else ip, store.port, nproc, world_size, offset)


def _process(local_rank: int, job: Callable[..., Any], arguments: dict, plan: _Plan) -> None:
    """What each started process does."""
    rank = plan.offset + local_rank
    store = dist.TCPStore(plan.ip, plan.port, is_master=False)
    take(Place(rank, local_rank, plan.world_size, plan.nproc, store))
    try:
        result = job(**arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        _report(store, rank, error)
        sys.exit(2 if isinstance(error, RecBoleCompressError) else 1)
    if local_rank == 0:
        store.set(f"result/{plan.offset}", json.dumps(result, default=_plain))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def _report(store: Any, rank: int, error: Exception) -> None:
    mendable = isinstance(error, RecBoleCompressError)
    text = str(error) if mendable else "".join(traceback.format_exception(error))
    what = {"rank": rank, "class": type(error).__name__ if mendable else None, "text": text}
    store.set(f"error/{store.add('errors', 1)}", json.dumps(what))


def _wait(processes: list[Any], store: Any) -> None:
    """Return when all have ended well; raise when one has not, here or on another machine."""
    running = {process.sentinel: process for process in processes}
    while running:
        ended = [running.pop(sentinel) for sentinel in connection.wait(list(running), timeout=1.0)]
        for process in ended:
            process.join()  # its end shows before its exit code does
        if any(process.exitcode for process in ended) or (not ended and store.add("errors", 0)):
            raise _failure(processes, store)


def _failure(processes: list[Any], store: Any) -> Exception:
    reports = [
        json.loads(store.get(f"error/{number}")) for number in range(1, store.add("errors", 0) + 1)
    ]
    for report in reports:
        if report["class"] is not None:
            kind = getattr(errors, report["class"], RecBoleCompressError)
            return kind(report["text"])
    for number, process in enumerate(processes):
        # Others may have noticed and complained; the one that was ended is the cause.
        if (process.exitcode or 0) < 0:
            name = signal.Signals(-process.exitcode).name
            hint = " (perhaps out of memory)" if name == "SIGKILL" else ""
            return TrainingError(
                f"process {number} of {len(processes)} was ended by {name}{hint}; the others were "
                "ended too, go on with --resume=<the checkpoint in saved/>"
            )
    if reports:
        return RuntimeError(f"process {reports[0]['rank']} failed:\n{reports[0]['text']}")
    number, process = next((n, p) for n, p in enumerate(processes) if p.exitcode)
    return TrainingError(
        f"process {number} of {len(processes)} ended with exit code {process.exitcode} and no "
        "message of its own; the others were ended too"
    )


def _end(processes: list[Any]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_SECONDS_TO_END)
        if process.is_alive():
            process.kill()
            process.join()
