"""Items that a target is ranked against where it is not ranked against all."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["draw_candidates"]

_CELLS = 2**20  # drawn at a time: a few arrays of 8 MiB
_STEP = np.uint64(0x9E3779B97F4A7C15)  # of SplitMix64, which the numbers come from


def draw_candidates(
    targets: Tensor, n_items: int, n: int, seed: int, rows: Tensor | None = None
) -> Tensor:
    """Distinct items, uniformly drawn for every target among all others.

    Args:
        targets: Item ids, ``(rows,)``, each in ``1 .. n_items - 1``.
        n_items: Catalogue size including the padding id 0.
        n: Items per target; where the catalogue has fewer others, all of them.
        seed: Equal seeds, targets and rows give equal candidates.
        rows: A number of its own for every target; its place where there is none. A target's
            candidates depend on its own number, not on where it stands or which others there are.

    Returns:
        int32 ``(rows, min(n, n_items - 2))``; never the padding id, never the target.

    Example:
        >>> draw_candidates(torch.tensor([2, 1]), n_items=4, n=99, seed=0).sort().values.tolist()
        [[1, 3], [2, 3]]
    """
    others = n_items - 2
    n = min(n, others)
    numbers = np.arange(len(targets)) if rows is None else rows.numpy()
    keys = _mixed(_mixed(np.array([seed % 2**64], dtype=np.uint64)) + _steps(numbers))
    drawn = np.empty((len(keys), n), dtype=np.int32)
    # Where most are taken, drawing one more that is new would need many tries.
    draw, width = (_most, others) if n > others // 2 else (_few, n)
    at_once = max(1, _CELLS // max(1, width))
    for start in range(0, len(keys), at_once):
        part = slice(start, start + at_once)
        drawn[part] = draw(keys[part], others, n)
    ids = torch.from_numpy(drawn) + 1
    return ids + (ids >= targets.unsqueeze(1)).int()


def _most(keys: np.ndarray, others: int, n: int) -> np.ndarray:
    if n == others:
        return np.broadcast_to(np.arange(n), (len(keys), n))
    by_chance = _mixed(keys[:, None] + _steps(np.arange(others)))
    return np.argpartition(by_chance, n, axis=1)[:, :n]


def _few(keys: np.ndarray, others: int, n: int) -> np.ndarray:
    """The first ``n`` distinct ones of a row's endless draw with replacement."""
    drawn = _mixed(keys[:, None] + _steps(np.arange(n))) % np.uint64(others)
    pending, used = np.arange(len(keys)), n
    while len(pending):
        part = np.sort(drawn[pending], axis=1)
        row, column = (part[:, 1:] == part[:, :-1]).nonzero()
        again = _mixed(keys[pending[row]] + _steps(used + column)) % np.uint64(others)
        part[row, column + 1] = again
        drawn[pending] = part
        pending, used = pending[np.unique(row)], used + n
    return drawn


def _steps(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.uint64) * _STEP


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Every number to one of 64 random-looking bits (the finalizer of SplitMix64)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
