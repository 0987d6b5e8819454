"""One trial of a search: a whole run in a folder of its own, and what became of it."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_compress.errors import CheckpointError, DataError
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.quick_start.warnings_of_recbole import ignore_warnings_of_recbole
from recbole_compress.tuning.trials import FAILED, FINISHED

__all__ = ["Trial"]

# In these ways RecBole's models and torch refuse values that they cannot use.
_REFUSALS = (
    *(ValueError, TypeError, LookupError, ArithmeticError, AssertionError),
    *(RuntimeError, MemoryError),
)


@dataclass(frozen=True)
class Trial:
    """Runs one trial; can be sent to another process, and run in any folder.

    Attributes:
        command_line: What holds for every trial, ``--key=value``; strongest.
        config_files: Absolute paths.
    """

    command_line: tuple[str, ...]
    config_files: tuple[str, ...] = ()

    def __call__(
        self,
        settings: Mapping[str, Any],
        after_evaluation: Callable[[int, float], None] | None = None,
        more_arguments: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Train, validate and test with these settings.

        Args:
            settings: What was searched.
            after_evaluation: Called after every validation with the epoch and the score.
            more_arguments: What holds for this trial only, behind ``command_line``.

        Returns:
            A record for :class:`~recbole_compress.tuning.trials.Trials`. What these settings are to
            blame for makes it a failed one.

        Raises:
            DataError, CheckpointError: What would fail in every trial.
        """
        ignore_warnings_of_recbole()
        start = time.perf_counter()
        record: dict[str, Any] = {"settings": dict(settings), "status": FAILED, "score": None}
        with tempfile.TemporaryDirectory(prefix="recbole-compress-trial-") as folder:
            try:
                result = run_recbole_compress(
                    config_file_list=list(self.config_files),
                    config_dict=dict(settings),
                    command_line=[
                        *self.command_line,
                        *more_arguments,
                        f"--checkpoint_dir={folder}",
                    ],
                    after_evaluation=after_evaluation,
                )
            except (DataError, CheckpointError):
                raise
            except _REFUSALS as error:
                lines = str(error).strip().splitlines() or ["no reason given"]
                record["error"] = f"{type(error).__name__}: {lines[0]}"
            else:
                record |= _outcome(result)
        return {**record, "seconds": round(time.perf_counter() - start, 3)}


def _outcome(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a run that came to its end says of its settings."""
    score = result["best_valid_score"]
    if score is None or not math.isfinite(score):
        return {"error": f"the validation score is {score}: see that rows are left to validate on"}
    card = result["card"]
    return {
        "status": FINISHED,
        "score": float(score),
        "valid": _plain(result["best_valid_result"]),
        "test": _plain(result["test_result"]),
        "parameters": card["parameters"]["total"],
        "size_bytes": card["size_bytes"]["total"],
        "epochs": card["training"]["epochs"],
    }


def _plain(result: Mapping[str, Any] | None) -> dict[str, float]:
    """Nothing where a split has no rows."""
    return {name: float(value) for name, value in (result or {}).items()}
