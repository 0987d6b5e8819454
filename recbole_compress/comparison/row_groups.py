"""Groups of test rows: how often the train split shows the target, and whether it comes again.

Items stand in thirds of the train interactions, those that training never shows on their own. What
a model finds of unseen items, it has from a sequence that holds them already, or from their ids.
"""

from __future__ import annotations

import numpy as np

__all__ = ["NOVELTY", "POPULARITY", "popularity_groups"]

_THIRDS = ("head", "torso", "tail")
POPULARITY = (*_THIRDS, "unseen")
# Whether the sequence holds the target already.
NOVELTY = ("again", "new")


def popularity_groups(item_counts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Which third of the train interactions an item belongs to: 0 head, 1 torso, 2 tail; 3 none.

    Items stand in line by frequency, the most frequent first, each as wide as it is frequent; the
    third that the middle of an item falls into is its own. Items of one frequency are told apart by
    nothing and stay together: the middle of all of them counts.

    Args:
        item_counts: Train frequency of every item of the catalogue, ``(n_items,)``, in any order.
        counts: Frequencies to sort into groups; each must be in ``item_counts``.

    Returns:
        int64, as long as ``counts``.

    Example:
        >>> item_counts = np.array([6, 3, 3, 2, 2, 1, 1, 0])  # 18 interactions
        >>> popularity_groups(item_counts, np.array([6, 3, 2, 1, 0])).tolist()
        [0, 1, 2, 2, 3]
    """
    frequencies, n_items = np.unique(item_counts, return_counts=True)
    frequencies, n_items = frequencies[::-1], n_items[::-1]  # the most frequent first
    mass = frequencies * n_items
    middle = np.cumsum(mass) - mass / 2
    n = len(_THIRDS)
    group = np.minimum(middle * n // max(1, mass.sum()), n - 1).astype(np.int64)
    group[frequencies == 0] = POPULARITY.index("unseen")
    return group[len(frequencies) - 1 - np.searchsorted(frequencies[::-1], counts)]
