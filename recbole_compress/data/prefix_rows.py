"""Turning prefix-augmented split files back into the sequences they were made from."""

from __future__ import annotations

import numpy as np

__all__ = ["merge_prefix_rows"]


def merge_prefix_rows(
    sessions: np.ndarray, histories: np.ndarray, targets: np.ndarray, part_ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Store every session once and point each row at its target's position.

    A session ``a b c d`` comes as the rows ``a b c -> d``, ``a b -> c``, ``a -> b``. The longest
    row holds all the others. A row that is no prefix of its session's longest one starts a
    sequence of its own, so nothing is ever assumed about the file.

    Args:
        sessions: Session id per row, ``(rows,)``.
        histories: Items so far per row, oldest first: ``(rows,)`` of int arrays.
        targets: Item to predict per row, ``(rows,)``.
        part_ends: Row number after the last row of each file; sessions never merge across files.

    Returns:
        ``items`` (all sequences end to end), ``starts`` (of every sequence, ascending) and
        ``ends`` (position of every row's target), all int64.

    Example:
        >>> history = np.array([np.array([1, 2]), np.array([1]), np.array([7])], dtype=object)
        >>> merge_prefix_rows(np.array([5, 5, 5]), history, np.array([3, 2, 8]), np.array([3]))
        (array([1, 2, 3, 7, 8]), array([0, 3]), array([2, 1, 4]))
    """
    lengths = np.fromiter((len(history) for history in histories), dtype=np.int64)
    part = np.searchsorted(part_ends, np.arange(len(sessions)), side="right")
    # Longest row first within a session of a file.
    order = np.lexsort((-lengths, sessions, part))
    pieces: list[np.ndarray] = []
    starts: list[int] = []
    ends = np.empty(len(sessions), dtype=np.int64)
    owner = None
    longest = np.empty(0, dtype=np.int64)
    position = 0
    for row in order.tolist():
        key, length = (part[row], sessions[row]), lengths[row]
        if (
            key != owner
            or length >= len(longest)
            or longest[length] != targets[row]
            or not np.array_equal(longest[:length], histories[row])
        ):
            longest = np.append(histories[row], targets[row]).astype(np.int64)
            pieces.append(longest)
            starts.append(position)
            position += len(longest)
            owner = key
        ends[row] = starts[-1] + length
    return np.concatenate(pieces), np.array(starts, dtype=np.int64), ends
