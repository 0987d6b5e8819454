"""What the processes of a run tell each other; alone, each hears itself."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from recbole_compress.distributed.place import here
from recbole_compress.errors import ConfigError, first_line

__all__ = ["any_of_all", "from_first", "gathered", "joined", "mean_of_all", "speaks_for_all"]

_store: Any = None
_number = itertools.count()  # what earlier runs of these processes have left in the store is old


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Within this block the processes of the run can exchange tensors and objects.

    Objects and tensors on the CPU travel by gloo, tensors on a GPU by nccl. A process group that
    is there already is used and left as it is.

    Raises:
        ConfigError: The process that torchrun names as the first one does not answer.
    """
    global _store
    place = here()
    if place.is_alone or dist.is_initialized():
        yield
        return
    try:
        _store = place.store or next(iter(rendezvous("env://")))[0]
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            store=dist.PrefixStore(f"group{next(_number)}", _store),
            rank=place.rank,
            world_size=place.world_size,
        )
    except dist.DistError as error:
        reason = first_line(error)
        raise ConfigError(
            f"process {place.rank} of {place.world_size}: no connection to the others ({reason}); "
            "look at the address and port of the first machine"
        ) from error
    # After an error the process ends: leaving in good order would wait for others that may be gone.
    yield
    _store = None
    dist.destroy_process_group()


def speaks_for_all() -> bool:
    """Whether this process is the one to print an error; true for one process of a run.

    All may fail in the same way. Before they are joined, one per machine speaks.
    """
    place = here()
    if place.is_alone or _store is None:
        return place.local_rank == 0
    try:
        return _store.add("spoken", 1) == 1
    except RuntimeError:  # the store went with the first process
        return True


def from_first(make: Callable[[], Any]) -> Any:
    """What ``make()`` returns in the first process, in all of them; only the first one calls it.

    Example:
        >>> from_first(lambda: 3)
        3
    """
    place = here()
    if place.is_alone:
        return make()
    box = [make() if place.is_first else None]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gathered(value: Any) -> list[Any]:
    """Every process's value, in the order of ranks.

    Example:
        >>> gathered("a")
        ['a']
    """
    place = here()
    if place.is_alone:
        return [value]
    values: list[Any] = [None] * place.world_size
    dist.all_gather_object(values, value)
    return values


def mean_of_all(values: Any) -> Any:
    """Mean over the processes of a number, or of each number of a tuple."""
    if here().is_alone:
        return values
    every = gathered(values)
    if isinstance(values, tuple):
        return tuple(sum(parts) / len(every) for parts in zip(*every, strict=True))
    return sum(every) / len(every)


def any_of_all(condition: bool) -> bool:
    """Whether the condition holds in any process."""
    return any(gathered(condition))
