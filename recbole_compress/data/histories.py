"""How much of a user's history in one data set was known when something happened in another."""

from __future__ import annotations

import numpy as np

__all__ = ["known_before"]


def known_before(
    sequence_starts: np.ndarray, times: np.ndarray, sequences: np.ndarray, moments: np.ndarray
) -> np.ndarray:
    """Position after the last item of a sequence that is strictly older than a moment.

    Equals, row by row, ``start + np.searchsorted(times[start:end], moment)`` with the bounds of the
    row's sequence. What happened at the very moment counts as unknown: its order is not told.

    Args:
        sequence_starts: Position of every sequence's first item, ascending, ``(S,)``.
        times: Time of every item, all sequences end to end, ascending within each, ``(N,)``.
        sequences: Which sequence each row asks about, ``(rows,)``.
        moments: ``(rows,)``.

    Returns:
        int64 ``(rows,)``; a sequence's start where nothing is older.

    Example:
        >>> known_before(
        ...     np.array([0, 3]), np.array([1, 2, 2, 5]), np.array([0, 0, 1]), np.array([2, 9, 5])
        ... )
        array([1, 3, 3])
    """
    counts = np.diff(np.append(sequence_starts, len(times)))
    owners = np.repeat(np.arange(len(sequence_starts)), counts)
    is_item = np.r_[np.zeros(len(moments), dtype=np.int64), np.ones(len(times), dtype=np.int64)]
    order = np.lexsort((is_item, np.r_[moments, times], np.r_[sequences, owners]))
    items_before = np.empty(len(order), dtype=np.int64)
    items_before[order] = is_item[order].cumsum() - is_item[order]
    return items_before[: len(moments)]
