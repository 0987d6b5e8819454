"""How often every item occurs in the train split, and only there."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_compress.data.shown_sequences import shown_by_split

__all__ = ["covered_positions", "train_item_counts"]


def covered_positions(n: int, starts: Tensor, ends: Tensor) -> Tensor:
    """Which of ``n`` interactions some training row sees.

    A row ``(start, end)`` sees the positions ``start .. end``: its history and its target.
    RecBole's own ``item_counter`` counts targets only and so misses every user's first item.

    Args:
        n: Length of all sequences end to end.
        starts: First position of every row's history, ``(rows,)``.
        ends: Position of every row's target, ``(rows,)``.

    Returns:
        bool ``(n,)``.

    Example:
        >>> covered_positions(4, torch.tensor([0, 0]), torch.tensor([1, 2])).tolist()
        [True, True, True, False]
    """
    edges = torch.zeros(n + 1, dtype=torch.long)
    edges.index_add_(0, starts, torch.ones_like(starts))
    edges.index_add_(0, ends + 1, -torch.ones_like(ends))
    return edges.cumsum(0)[:-1] > 0


def train_item_counts(dataset) -> Tensor:
    """Item counts of a built train split, ours or RecBole's own ``SequentialDataset``.

    Returns:
        int64 ``(n_items,)``; 0 for the padding id and for items the train split never shows.
    """
    if hasattr(dataset, "item_counts"):
        return dataset.item_counts()
    _, items = shown_by_split(dataset)
    return torch.bincount(torch.from_numpy(items), minlength=dataset.item_num)
