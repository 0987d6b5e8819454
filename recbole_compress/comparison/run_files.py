"""Where the files of a comparison's runs lie, and what they say."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from recbole_compress.comparison.experiment import Planned
from recbole_compress.errors import ConfigError

__all__ = ["RunFiles", "check_names", "make_folder", "safe_name"]


def make_folder(folder: Path) -> None:
    """Make the folder of a comparison.

    Raises:
        ConfigError: It cannot be made, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(
            f"--output={folder}: nothing can be written there ({error.strerror}); choose another "
            "folder"
        ) from error


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

    def _with(self, ending: str) -> Path:
        return self.stem.parent / (self.stem.name + ending)

    @property
    def settings(self) -> Path:
        return self._with(".settings.yaml")

    @property
    def card(self) -> Path:
        return self._with(".card.json")

    @property
    def taken(self) -> Path:
        """Names of the checkpoints that it took of other runs."""
        return self._with(".taken.yaml")

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
        """The checkpoint that the card names, if it is here."""
        files = (self.read_card() or {}).get("files") or {}
        name = os.path.basename(files.get("checkpoint") or "")
        path = self.checkpoints / name
        return path if name and path.is_file() else None

    def resumable(self) -> Path | None:
        """The checkpoint that a run which was cut off goes on from.

        Before a student has any, that is its teacher's, in the folder below: going on with it goes
        on with both phases.
        """
        full_precision = _newest(
            path for path in self.checkpoints.glob("*.pth") if not path.stem.endswith(".quantized")
        )
        first_phases = set(self.checkpoints.glob("*/*.pth"))
        return full_precision or _newest(first_phases - set(self._of_quantization()))

    def quantizing(self) -> Path | None:
        """What a data-free training that was cut off goes on from."""
        return _newest(self._of_quantization())

    def _of_quantization(self) -> Iterable[Path]:
        return self.checkpoints.glob("quantization/*.pth")

    def read_card(self) -> dict[str, Any] | None:
        """None where there is none that can be read."""
        try:
            card = json.loads(self.card.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return card if isinstance(card, dict) and isinstance(card.get("metrics"), dict) else None

    def read_settings(self) -> Any:
        """What it was last begun with; None where that cannot be read."""
        return _yaml_in(self.settings)

    def read_taken(self) -> dict[str, str]:
        """Settings that named a checkpoint of another run, and the names of those files.

        Empty where that was not noted: in a folder of an earlier version, or for a run that is
        known from a results file alone.
        """
        return _yaml_in(self.taken) or {}

    def make_way(self) -> RunFiles | None:
        """Let the run begin anew. A finished one is kept under another name, which is returned."""
        kept = None if self.read_card() is None else self._free_name()
        for path in (self.card, self.ranks, self.log, self.taken, self.settings, self.checkpoints):
            if kept is not None and path.exists():
                path.rename(path.with_name(kept.stem.name + path.name.removeprefix(self.stem.name)))
            elif path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return kept

    def _free_name(self) -> RunFiles:
        names = (RunFiles(self._with(f".before-{number}")) for number in itertools.count(1))
        return next(files for files in names if not files.card.exists())


def _yaml_in(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None


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
