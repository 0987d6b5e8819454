"""What the ``tune`` command is told, apart from the settings of its trials."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields

__all__ = ["Options", "near_option"]

TRIALS = 30


@dataclass(frozen=True)
class Options:
    """The keys of ``properties/tune.yaml``, which says what they mean."""

    tool: str
    params_file: str | None
    algo: str
    max_evals: int | None
    early_stop: int | None
    output_file: str | None
    scheduler: str
    cpus_per_trial: int
    gpus_per_trial: float

    @property
    def limit(self) -> int | None:
        """Trials at most; None for the whole space."""
        return self.max_evals or (None if self.algo == "exhaustive" else TRIALS)


def near_option(key: str) -> str | None:
    """The option that a misspelt key was probably meant to be.

    Example:
        >>> near_option("max_eval"), near_option("epochs")
        ('max_evals', None)
    """
    names = [field.name for field in fields(Options)]
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.8)
    return near[0] if near else None
