"""One process per run. What is finished is kept; what was cut off is taken up where it stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import yaml

from recbole_compress.comparison.finished import Finished, has_settings_of
from recbole_compress.comparison.run_files import RunFiles
from recbole_compress.comparison.settings import CheckedRun
from recbole_compress.files import locked, replacing

__all__ = ["child_environment", "run_missing"]

COMMAND = [sys.executable, "-m", "recbole_compress.quick_start.command_line"]


def run_missing(
    runs: Sequence[CheckedRun], folder: Path, jobs: int = 1, report: Callable[[str], None] = print
) -> dict[tuple[str, str, int], str]:
    """Run what is not finished, at most ``jobs`` at a time; a failure does not stop the others.

    Args:
        runs: From :func:`~recbole_compress.comparison.settings.checked_runs`.
        folder: Where everything goes; it must be there.
        jobs: How many processes at once. Times are fair only with one.
        report: Told one line per run, as it ends.

    Returns:
        One line per failed run, under its ``Planned.key``: why, and where its log lies.
    """
    finished = Finished(runs, folder)
    missing = [run for run in runs if finished.card(run) is None]
    if len(missing) < len(runs):
        report(f"{len(runs) - len(missing)} of {len(runs)} runs are there already")
    failures: dict[int, str] = {}
    children = _Children()
    number_of = {run.planned.key: number for number, run in enumerate(missing)}
    futures: list[Future] = []

    def one(number: int) -> None:
        run = missing[number]
        for other in run.planned.checkpoints.values():  # it stands above, so it was begun before
            if (needed := number_of.get(run.planned.key_of(other))) is not None:
                futures[needed].result()
        # It may be there after all, once a run is finished again that it took a checkpoint of.
        there = finished.card(run) is not None
        files = RunFiles.of(folder, run.planned)
        line = None if there else _run(run, files, finished, children, report)
        state = line or _summary(run, finished)
        if line:
            failures[number] = line
        report(f"[{number + 1}/{len(missing)}] {run.planned}: {state}")

    with _in_use(folder) as lock, children.holding(lock), ThreadPoolExecutor(jobs) as pool:
        for number in range(len(missing)):
            futures.append(pool.submit(one, number))
        try:
            for future in futures:
                future.result()
        except BaseException:
            children.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {missing[number].planned.key: line for number, line in sorted(failures.items())}


def _run(
    run: CheckedRun,
    files: RunFiles,
    finished: Finished,
    children: _Children,
    report: Callable[[str], None],
) -> str | None:
    """Run one to its end; None, or why it failed."""
    taken: dict[str, Path] = {}
    for key, other in run.planned.checkpoints.items():
        needed = run.planned.key_of(other)
        path = finished.checkpoint(needed)
        if path is None:
            why = finished.why_no_checkpoint(needed)
            return f"not run: {key} needs the checkpoint of {other!r}, {why}"
        taken[key] = path
    if kept := _make_way_unless_of(files, run, {key: path.name for key, path in taken.items()}):
        report(f"{run.planned}: the run of before, told otherwise, is kept as {kept.stem}")
    checkpoint, quantizing = files.resumable(), files.quantizing()
    arguments = {
        "config_files": [str(files.settings)],
        "checkpoint_dir": files.checkpoints,
        "card_path": files.card,
        **({"ranks_path": files.ranks} if run.ranked else {}),
        **({"resume": checkpoint} if checkpoint else {}),
        **({"df_resume": quantizing} if quantizing else {}),
        **taken,
        **run.places,
        "show_progress": False,
    }
    command = [*COMMAND, "run", *(f"--{key}={value}" for key, value in arguments.items())]
    goes_on = checkpoint or quantizing
    with open(files.log, "ab" if goes_on else "wb") as log:
        status = children.run(command, log)
    if status == 0 and files.card.exists():
        return None
    again = " (after resuming; delete its checkpoints to begin anew)" if goes_on else ""
    return f"failed with exit status {status}{again}: {_last_words(files.log)}; log: {files.log}"


def _make_way_unless_of(files: RunFiles, run: CheckedRun, taken: dict[str, str]) -> RunFiles | None:
    """Leave where it is what a run of these settings, from these checkpoints, left when it was cut
    off; otherwise make way, and return where a finished one is now."""
    kept = None
    # A run that is to be made although it has a card took what has been made again.
    if (
        not has_settings_of(run, files)
        or files.read_card() is not None
        or files.read_taken() not in ({}, taken)
    ):
        kept = files.make_way()
    files.card.unlink(missing_ok=True)  # unreadable
    if taken:
        with replacing(str(files.taken)) as file:
            yaml.safe_dump(taken, file, allow_unicode=True)
    with replacing(str(files.settings)) as file:
        yaml.safe_dump(run.settings, file, allow_unicode=True)
    return kept


def _last_words(log: Path) -> str:
    """The line of a log that says what went wrong."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or ["no output"])[-1][:300]


def _summary(run: CheckedRun, finished: Finished) -> str:
    card = finished.card(run) or {}
    metrics = card.get("metrics") or {}
    parts = [
        f"{run.valid_metric} {split} {metrics[split][run.valid_metric]:.4f}"
        for split in ("valid", "test")
        if (metrics.get(split) or {}).get(run.valid_metric) is not None
    ]
    seconds = (card.get("training") or {}).get("seconds")
    return ", ".join([*parts, *([f"{seconds:.0f} s of training"] if seconds is not None else [])])


def child_environment() -> dict[str, str]:
    """The environment in which a child finds the package that this process runs from."""
    root = str(Path(__file__).resolve().parents[2])
    environment = dict(os.environ)
    if root != sysconfig.get_paths()["purelib"]:  # there it is found anyway
        others = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([root, others] if others else [root])
    return environment


class _Children:
    """The processes under way, ended together with this one."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._stopped = False
        self._held: tuple[int, ...] = ()

    def holding(self, lock: IO | None) -> _Children:
        """Give every child a share of the lock: it may outlive this process, and writes on."""
        self._held = () if lock is None else (lock.fileno(),)
        return self

    def run(self, command: Sequence[str], log) -> int:
        with self._lock:
            if self._stopped:
                return -signal.SIGTERM
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=child_environment(),
                pass_fds=self._held,
            )
            self._running.add(child)
        try:
            return child.wait()
        finally:
            with self._lock:
                self._running.discard(child)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for child in self._running:
                child.terminate()

    def __enter__(self) -> _Children:
        # Without this, a terminated comparison leaves its children training behind its back.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(self, *exception) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def _in_use(folder: Path) -> AbstractContextManager[IO | None]:
    """One comparison at a time in a folder: two would train into each other's files."""
    return locked(
        str(folder / ".lock"),
        f"--output={folder}: another comparison is running there, or a run that outlived one that "
        "was killed; wait, end it, or choose another",
    )
