"""One process per run. What is finished is kept; what was cut off is taken up where it stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from recbole_compress.comparison.experiment import Planned
from recbole_compress.comparison.settings import CheckedRun
from recbole_compress.errors import ConfigError
from recbole_compress.files import replacing

__all__ = ["RunFiles", "check_names", "child_environment", "finished_card", "run_missing"]

COMMAND = [sys.executable, "-m", "recbole_compress.quick_start.command_line"]


def safe_name(name: str) -> str:
    """``name`` as a file may be called anywhere.

    Example:
        >>> safe_name("cprec, head/tail breaks")
        'cprec-head-tail-breaks'
    """
    return re.sub(r"[^\w.]+", "-", name, flags=re.ASCII).strip("-.") or "run"


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """Where the files of one run lie: ``FOLDER/runs/<dataset>/<entry>-<seed>.*``."""

    stem: Path

    @classmethod
    def of(cls, folder: Path, run: Planned) -> RunFiles:
        return cls.of_key(folder, run.key)

    @classmethod
    def of_key(cls, folder: Path, key: tuple[str, str, int]) -> RunFiles:
        dataset, entry, seed = key
        return cls(folder / "runs" / safe_name(dataset) / f"{safe_name(entry)}-{seed}")

    @property
    def folder(self) -> Path:
        """Of the whole comparison."""
        return self.stem.parents[2]

    def _with(self, ending: str) -> Path:
        return self.stem.parent / (self.stem.name + ending)

    @property
    def settings(self) -> Path:
        return self._with(".settings.yaml")

    @property
    def card(self) -> Path:
        return self._with(".card.json")

    @property
    def ranks(self) -> Path:
        return self._with(".ranks.npz")

    @property
    def log(self) -> Path:
        return self._with(".log")

    @property
    def checkpoints(self) -> Path:
        return self.stem

    def checkpoint(self) -> Path | None:
        """The newest checkpoint of the best epoch, if there is one."""
        return _newest(self.checkpoints.glob("*.pth"))

    def resumable(self) -> Path | None:
        """The checkpoint that a run which was cut off goes on from.

        Before a student has any, that is its teacher's, in the folder below: going on with it goes
        on with both phases.
        """
        full_precision = _newest(
            path for path in self.checkpoints.glob("*.pth") if not path.stem.endswith(".quantized")
        )
        return full_precision or _newest(self.checkpoints.glob("*/*.pth"))

    def discard(self) -> None:
        """Remove what was made with other settings."""
        for path in (self.card, self.ranks, self.log, self.settings):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.checkpoints, ignore_errors=True)


def _newest(paths: Iterable[Path]) -> Path | None:
    best = [path for path in paths if not path.stem.endswith(".resume")]
    return max(best, key=lambda path: path.stat().st_mtime, default=None)


def check_names(planned: Sequence[Planned]) -> None:
    """Two entries must not share their files.

    Raises:
        ConfigError: They would; names both.
    """
    owners: dict[str, Planned] = {}
    for run in planned:
        other = owners.setdefault(str(RunFiles.of(Path(), run).stem).lower(), run)
        if other is not run:
            raise ConfigError(f"{other} and {run}: their files would have one name; rename one")


def finished_card(files: RunFiles, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The card of a run that ended with exactly these settings; None if there is none."""
    if _settings_in(files) != settings or not files.card.exists():
        return None
    try:
        return json.loads(files.card.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _settings_in(files: RunFiles) -> Any:
    try:
        return yaml.safe_load(files.settings.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None


def run_missing(
    runs: Sequence[CheckedRun], folder: Path, jobs: int = 1, report: Callable[[str], None] = print
) -> dict[tuple[str, str, int], str]:
    """Run what has no card yet, at most ``jobs`` at a time; a failure does not stop the others.

    Args:
        runs: From :func:`~recbole_compress.comparison.settings.checked_runs`.
        folder: Where everything goes.
        jobs: How many processes at once. Times are fair only with one.
        report: Told one line per run, as it ends.

    Returns:
        One line per failed run, under its ``Planned.key``: why, and where its log lies.
    """
    missing = []
    for run in runs:
        if finished_card(RunFiles.of(folder, run.planned), run.settings) is None:
            missing.append(run)
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
        line = _run(run, RunFiles.of(folder, run.planned), children)
        state = line or _summary(run, folder)
        if line:
            failures[number] = line
        report(f"[{number + 1}/{len(missing)}] {run.planned}: {state}")

    with _in_use(folder), children, ThreadPoolExecutor(jobs) as pool:
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


def _run(run: CheckedRun, files: RunFiles, children: _Children) -> str | None:
    """Run one to its end; None, or why it failed."""
    if _settings_in(files) != run.settings:
        files.discard()
    files.card.unlink(missing_ok=True)  # unreadable, or it would have been taken
    taken: dict[str, Path] = {}
    for key, other in run.planned.checkpoints.items():
        others = RunFiles.of_key(files.folder, run.planned.key_of(other))
        path = others.checkpoint() if others.card.exists() else None
        if path is None:
            return f"not run: {key} needs the checkpoint of {other!r}, which is not there; run it"
        taken[key] = path
    checkpoint = files.resumable()
    with replacing(str(files.settings)) as file:
        yaml.safe_dump(run.settings, file, allow_unicode=True)
    arguments = {
        "config_files": [str(files.settings)],
        "checkpoint_dir": files.checkpoints,
        "card_path": files.card,
        **({"ranks_path": files.ranks} if run.ranked else {}),
        **({"resume": checkpoint} if checkpoint else {}),
        **taken,
        **run.places,
        "show_progress": False,
    }
    command = [*COMMAND, "run", *(f"--{key}={value}" for key, value in arguments.items())]
    with open(files.log, "ab" if checkpoint else "wb") as log:
        status = children.run(command, log)
    if status == 0 and files.card.exists():
        return None
    again = " (after resuming; delete its checkpoints to begin anew)" if checkpoint else ""
    return f"failed with exit status {status}{again}: {_last_words(files.log)}; log: {files.log}"


def _last_words(log: Path) -> str:
    """The line of a log that says what went wrong."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or ["no output"])[-1][:300]


def _summary(run: CheckedRun, folder: Path) -> str:
    card = finished_card(RunFiles.of(folder, run.planned), run.settings) or {}
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


@contextlib.contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """One comparison at a time in a folder: two would train into each other's files."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"--output={folder}: another comparison is running there; wait, or choose another"
            ) from None
        yield
