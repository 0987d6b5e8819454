"""Which of the run's processes this one is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from recbole_compress.errors import ConfigError

__all__ = ["Place", "here", "started_by_torchrun", "take"]

# What torch's launcher sets in every process it starts.
_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """One process among those of a run; a run in one process is the default.

    Attributes:
        rank: 0 .. ``world_size`` - 1, over all machines.
        local_rank: The same on this machine.
        world_size: Processes of the run.
        local_world_size: Those of them on this machine.
        store: torch's key-value store that the launcher opened; None where torchrun did.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int = 1
    store: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and logs of the run."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        return self.world_size == 1


_taken: Place | None = None


def take(place: Place | None) -> None:
    """Say which process this is; None goes back to what the environment says."""
    global _taken
    _taken = place


def here() -> Place:
    """The place given to this process, by our launcher or by torch's.

    Example:
        >>> here()
        Place(rank=0, local_rank=0, world_size=1, local_world_size=1, store=None)
    """
    if _taken is not None:
        return _taken
    return _place_from_environment() if started_by_torchrun() else Place()


def started_by_torchrun() -> bool:
    """Whether torch's launcher (or what sets the same variables) started this process."""
    return _taken is None and all(name in os.environ for name in _TORCHRUN)


def _place_from_environment() -> Place:
    world_size = _number("WORLD_SIZE")
    local = _number("LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in os.environ else world_size
    place = Place(_number("RANK"), _number("LOCAL_RANK"), world_size, local)
    if not 0 <= place.rank < place.world_size:
        raise ConfigError(
            f"RANK={place.rank}: the environment says that there are WORLD_SIZE={world_size} "
            "processes; start with torchrun, or unset both"
        )
    return place


def _number(name: str) -> int:
    try:
        return int(os.environ[name])
    except ValueError:
        raise ConfigError(
            f"{name}={os.environ[name]!r}: expected a number in the environment; start with "
            "torchrun, or unset it"
        ) from None
