"""Timing a trainer's own loop from the side of the loader it reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

__all__ = ["TimedBatches", "settle"]


def settle(device: str) -> None:
    """Wait until the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


class TimedBatches:
    """Batches of ``loader``, with the time that each step took.

    A step lasts from the moment its batch is asked for to the moment the next one is, so that all
    that the loop does counts, making the batch included. Of a shuffled loader the first batches
    are a fair sample: where an epoch is too long, only so many are handed out.

    On a GPU the backward pass of a step may still run while the next batch is made, as it does
    outside of a benchmark; it ends before the next loss is read. So only the first counted step
    begins, and the last one ends, with nothing left to do.

    Args:
        loader: Batches, with a length.
        count_targets: Number of prediction targets in a batch.
        warm_up: First steps that do not count (at least one does).
        seconds: Stop after so much counted time; None for a whole epoch.
        min_steps: Counted steps before stopping, however long they take.
        mark: Called with "ask" before and "given" after a batch is made.
        device: Type of the device that the steps run on.

    Example:
        >>> batches = TimedBatches([[7, 8], [9, 7], [8]], count_targets=len, warm_up=1)
        >>> [sum(batch) for batch in batches]
        [15, 16, 8]
        >>> batches.targets, len(batches.seconds), batches.complete
        ([2, 1], 2, True)
    """

    def __init__(
        self,
        loader: Any,
        count_targets: Callable[[Any], int],
        warm_up: int = 2,
        seconds: float | None = None,
        min_steps: int = 3,
        mark: Callable[[str], None] | None = None,
        device: str = "cpu",
    ) -> None:
        self.loader, self.count_targets = loader, count_targets
        self.length = len(loader)
        self.warm_up = min(warm_up, self.length - 1)
        self.limit, self.min_steps = seconds, min_steps
        self.mark = mark or (lambda name: None)
        self.device = device
        self.seconds: list[float] = []
        self.targets: list[int] = []
        self.complete = False

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        start = time.perf_counter()
        for step in range(self.length):
            if step == self.warm_up:
                settle(self.device)
                start = time.perf_counter()
            self.mark("ask")
            batch = next(batches)
            targets = self.count_targets(batch)
            self.mark("given")
            yield batch
            now = time.perf_counter()
            if step >= self.warm_up:
                self.seconds.append(now - start)
                self.targets.append(targets)
            start = now
            if self._enough():
                break
        settle(self.device)
        self.seconds[-1] += time.perf_counter() - start
        self.complete = step == self.length - 1
        self.mark("end")

    def _enough(self) -> bool:
        return (
            self.limit is not None
            and len(self.seconds) >= self.min_steps
            and sum(self.seconds) >= self.limit
        )
