"""What can run the trials of a search: each tool is told the same, and asked the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from recbole_compress.tuning.options import Options
from recbole_compress.tuning.space import Space
from recbole_compress.tuning.trials import Trials

__all__ = ["RunTrial", "SearchJob", "Tool"]


class RunTrial(Protocol):
    """Runs one trial and returns its record; can be sent to another process."""

    def __call__(
        self,
        settings: Mapping[str, Any],
        after_evaluation: Callable[[int, float], None] | None = None,
        more_arguments: Sequence[str] = (),
    ) -> dict[str, Any]: ...


@dataclass(frozen=True)
class SearchJob:
    """A search that is ready to be run.

    Attributes:
        space: What to vary.
        trial: Runs a trial.
        trials: Those there are already.
        keep: Is given the record of every trial that ends.
        seed: Of the order in which points are tried.
        epochs: Of a whole trial.
    """

    space: Space
    trial: RunTrial
    trials: Trials
    keep: Callable[[dict[str, Any]], None]
    seed: int
    epochs: int


class Tool(ABC):
    """One way to run the trials of a search.

    Args:
        options: Of the command.

    Attributes:
        own_options: The options that no other tool can carry out.
        algos: The algorithms it knows; the first takes the place of a default it does not know.
    """

    own_options: ClassVar[tuple[str, ...]]
    algos: ClassVar[tuple[str, ...]]

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    def require(self) -> None:
        """Check that what it needs is installed.

        Raises:
            RecBoleCompressError: It is not; says how to get it.
        """

    @property
    def resources(self) -> str:
        """What a trial is given of the machine, in words; empty for all of it."""
        return ""

    @property
    def default_settings(self) -> dict[str, Any]:
        """Settings of its trials where the user gives no others."""
        return {}

    @property
    def fixed_settings(self) -> dict[str, Any]:
        """Settings of its trials whatever the user gives."""
        return {}

    @abstractmethod
    def run(self, job: SearchJob) -> None:
        """Run every trial that is not there yet.

        Raises:
            RecBoleCompressError: What would fail in every trial.
        """
