"""Capturing every source of chance, so that a resumed training repeats what would have been."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

__all__ = ["capture", "restore", "seeded", "untouched"]


def capture(generator: torch.Generator | None = None) -> dict[str, Any]:
    """State of Python's, numpy's and torch's generators and of the loader's own.

    Plain numbers and tensors only, so that a weights-only load accepts it.
    """
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": [
            name,
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            position,
            has_gauss,
            float(gauss),
        ],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "loader": None if generator is None else generator.get_state(),
    }


def restore(state: dict[str, Any], generator: torch.Generator | None = None) -> None:
    """Put back what :func:`capture` took.

    Example:
        >>> before = capture()
        >>> first = torch.rand(1)
        >>> restore(before)
        >>> bool(torch.rand(1) == first)
        True
    """
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and state["cuda"]:
        # There may have been more devices where the states come from.
        states = state["cuda"][: torch.cuda.device_count()]
        torch.cuda.set_rng_state_all([cuda.cpu() for cuda in states])
    if generator is not None and state["loader"] is not None:
        generator.set_state(state["loader"].cpu())


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Whatever draws inside, what comes after draws as if it had not.

    Example:
        >>> before = torch.get_rng_state()
        >>> with untouched():
        ...     number = torch.rand(1)
        >>> torch.equal(torch.get_rng_state(), before)
        True
    """
    state = capture()
    try:
        yield
    finally:
        restore(state)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What draws inside draws the same every time; what comes after, as if nothing had.

    Example:
        >>> with seeded(2020):
        ...     first = torch.rand(1)
        >>> with seeded(2020):
        ...     print(bool(torch.rand(1) == first))
        True
    """
    with untouched():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield
