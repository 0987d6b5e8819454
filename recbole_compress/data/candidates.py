"""Items that a target is ranked against where it is not ranked against all."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["draw_candidates"]


def draw_candidates(targets: Tensor, n_items: int, n: int, seed: int) -> Tensor:
    """Distinct items, uniformly drawn for every target among all others.

    Args:
        targets: Item ids, ``(rows,)``, each in ``1 .. n_items - 1``.
        n_items: Catalogue size including the padding id 0.
        n: Items per target; where the catalogue has fewer others, all of them.
        seed: Equal seeds and targets give equal candidates.

    Returns:
        int32 ``(rows, min(n, n_items - 2))``; never the padding id, never the target.

    Example:
        >>> draw_candidates(torch.tensor([2, 1]), n_items=4, n=99, seed=0).sort().values.tolist()
        [[1, 3], [2, 3]]
    """
    generator = np.random.default_rng(seed)
    others = n_items - 2
    n = min(n, others)
    drawn = np.stack(
        [generator.choice(others, n, replace=False, shuffle=False) for _ in range(len(targets))]
        or [np.zeros(n, dtype=np.int64)]
    )[: len(targets)]
    ids = torch.from_numpy(drawn.astype(np.int32)) + 1
    return ids + (ids >= targets.unsqueeze(1)).int()
