"""Processor time of several ways to one loss, in turns, so that a busy machine slows all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor, nn

__all__ = ["losses_in_turns"]


def losses_in_turns(
    ways: Mapping[str, Callable[[], Tensor]], learning: Iterable[nn.Module | Tensor], turns: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Forward and backward of every way, one after the other, ``turns`` times.

    Args:
        ways: Each makes a loss.
        learning: What has gradients, which are dropped before each.
        turns: After a first one, which allocates and is not counted.

    Returns:
        By ``NAME_cpu_ms`` the median milliseconds; by name the last loss.
    """
    learning = list(learning)
    times: dict[str, list[float]] = {name: [] for name in ways}
    values: dict[str, float] = {}
    for turn in range(turns + 1):
        for name, way in ways.items():
            for each in learning:
                if isinstance(each, Tensor):
                    each.grad = None
                else:
                    each.zero_grad()
            start = time.process_time()
            loss = way()
            loss.backward()
            if turn:
                times[name].append(time.process_time() - start)
            values[name] = loss.item()
    ms = {f"{name}_cpu_ms": statistics.median(each) * 1e3 for name, each in times.items()}
    return ms, values
