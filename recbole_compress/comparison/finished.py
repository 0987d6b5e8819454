"""Which runs are finished: with the settings they have now, from the checkpoints there are now."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_compress.changed_defaults import CHANGED_DEFAULTS
from recbole_compress.comparison.run_files import RunFiles
from recbole_compress.comparison.settings import CheckedRun
from recbole_compress.errors import CheckpointError
from recbole_compress.trainers.checkpoint import load_checkpoint

__all__ = ["Finished", "has_settings_of"]

# Where and how fast a run goes, not what comes out: no reason to train anew.
_HOW_IT_RUNS = {"use_gpu", "gpu_id", "threads", "worker", "state", "show_progress"}
# Under which name a card tells what a setting named; a quantized file is called after its origin.
_IN_CARD = {
    "teacher_path": "teacher",
    "pretrained": "pretrained",
    "full_precision_path": "checkpoint",
}


class Finished:
    """What is finished of an experiment, as its folder says at the moment.

    A checkpoint is known by the name of its file, which no other training gives to its own. So a
    copied folder tells the same as the first, and a results file alone does too.

    Args:
        runs: All runs of the experiment.
        folder: Where they are run.
    """

    def __init__(self, runs: Sequence[CheckedRun], folder: Path) -> None:
        self._runs = {run.planned.key: run for run in runs}
        self._folder = folder

    def card(self, run: CheckedRun) -> dict[str, Any] | None:
        """The card of a run that is finished, or None.

        It ended with exactly these settings, and every run whose checkpoint it took is finished as
        well and was not made again since.
        """
        files = RunFiles.of(self._folder, run.planned)
        card = files.read_card() if has_settings_of(run, files) else None
        if card is None:
            return None
        taken = files.read_taken()
        for key, entry in run.planned.checkpoints.items():
            other = run.planned.key_of(entry)
            its_card = self._card_of(other)
            if its_card is None and other in self._runs:
                return None
            # One that is not asked for today and left no card cannot have been made again.
            if its_card and not _is_from(taken.get(key) or _named(card, key), its_card):
                return None
        return card

    def checkpoint(self, key: tuple[str, str, int]) -> Path | None:
        """The checkpoint of a finished run, if it is here."""
        files = RunFiles.of_key(self._folder, key)
        return files.checkpoint() if self._card_of(key) is not None else None

    def why_no_checkpoint(self, key: tuple[str, str, int]) -> str:
        """What to do where :meth:`checkpoint` has none, for the end of an error line."""
        if self._card_of(key) is None:
            return "which is not there; run it"
        card = RunFiles.of_key(self._folder, key).card
        return f"of which only the results are here; delete {card} to train it again"

    def _card_of(self, key: tuple[str, str, int]) -> dict[str, Any] | None:
        if key in self._runs:
            return self.card(self._runs[key])
        return RunFiles.of_key(self._folder, key).read_card()


def has_settings_of(run: CheckedRun, files: RunFiles) -> bool:
    """Whether what lies there was begun with the run's settings, those left open included.

    What was left open is for the card to say, or for the checkpoint of a run whose card is older.
    Where neither does, as in a folder of results alone, it is taken for granted, unless every card
    since the default was another one does.
    """
    there = files.read_settings()
    if not isinstance(there, dict):
        return False
    said_now = {key: run.settings[key] for key in CHANGED_DEFAULTS if key in run.settings}
    open_there = {key: value for key, value in said_now.items() if key not in there}
    if _telling({**there, **open_there}) != _telling(run.settings):
        return False
    # What the run says today must be known to be what it left open then.
    return all(_stood_for(key, files) == value for key, value in open_there.items()) and all(
        _stood_for(key, files) in (value, None) for key, value in run.left_open.items()
    )


def _telling(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those that make two runs different ones."""
    return {key: value for key, value in settings.items() if key not in _HOW_IT_RUNS}


def _stood_for(key: str, files: RunFiles) -> Any:
    """What a setting that was left open was in the run that lies there; None if nothing says."""
    card = files.read_card() or {}
    said = (card.get("choices") or {}).get(key)
    if said is None:
        said = _noted(key, files.checkpoint() or files.resumable())
    if said is None and card and CHANGED_DEFAULTS[key].cards_tell:
        said = CHANGED_DEFAULTS[key].before
    return said


def _noted(key: str, checkpoint: Path | None) -> Any:
    """What a checkpoint's model was made with; None where it cannot be read."""
    if checkpoint is None:
        return None
    try:
        return load_checkpoint(str(checkpoint))["config"][key]
    except CheckpointError:
        return None


def _named(card: Mapping[str, Any], key: str) -> str | None:
    return (card.get("files") or {}).get(_IN_CARD.get(key))


def _is_from(path: str | None, card: Mapping[str, Any]) -> bool:
    """Whether that run made the file, or nobody says which file it was."""
    names = {_name(other) for other in (card.get("files") or {}).values() if other}
    return path is None or _name(path) in names


def _name(path: str) -> str:
    return os.path.basename(path).replace(".quantized.", ".")
