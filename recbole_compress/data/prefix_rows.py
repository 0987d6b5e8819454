"""Turning prefix-augmented split files back into the sequences they were made from."""

from __future__ import annotations

import numpy as np

__all__ = ["merge_prefix_rows", "offsets", "spans"]


def merge_prefix_rows(
    sessions: np.ndarray,
    histories: np.ndarray,
    lengths: np.ndarray,
    targets: np.ndarray,
    part_ends: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Store every session once and point each row at its target's position.

    A session ``a b c d`` comes as the rows ``a b c -> d``, ``a b -> c``, ``a -> b``. The longest
    row holds all the others. A row that is no prefix of its session's longest one starts a
    sequence of its own, so nothing is ever assumed about the file.

    Args:
        sessions: Session id per row, ``(rows,)``.
        histories: Items so far, oldest first, of all rows end to end.
        lengths: How many of ``histories`` every row has, ``(rows,)``.
        targets: Item to predict per row, ``(rows,)``.
        part_ends: Row number after the last row of each file; sessions never merge across files.

    Returns:
        ``items`` (all sequences end to end), ``starts`` (of every sequence, ascending) and
        ``ends`` (position of every row's target), all int64.

    Example:
        >>> histories, lengths = np.array([1, 2, 1, 7]), np.array([2, 1, 1])
        >>> sessions, targets = np.array([5, 5, 5]), np.array([3, 2, 8])
        >>> merge_prefix_rows(sessions, histories, lengths, targets, np.array([3]))
        (array([1, 2, 3, 7, 8]), array([0, 3]), array([2, 1, 4]))
    """
    items = np.insert(histories, np.cumsum(lengths), targets).astype(np.int64, copy=False)
    sizes = lengths + 1
    starts = offsets(sizes)
    part = np.searchsorted(part_ends, np.arange(len(sessions)), side="right")
    # Longest row first within a session of a file.
    order = np.lexsort((-lengths, sessions, part))
    is_new = np.ones(len(order), dtype=bool)
    # Prefixes of a prefix are prefixes: it is enough to compare every row with the one before.
    longer, row = order[:-1], order[1:]
    same = (sessions[longer] == sessions[row]) & (part[longer] == part[row])
    longer, row = longer[same], row[same]
    equal = items[spans(starts[longer], sizes[row])] == items[spans(starts[row], sizes[row])]
    is_new[1:][same] = ~np.logical_and.reduceat(equal, offsets(sizes[row]))

    kept = order[is_new]
    sequence_starts = offsets(sizes[kept])
    ends = np.empty(len(sessions), dtype=np.int64)
    ends[order] = sequence_starts[np.cumsum(is_new) - 1] + lengths[order]
    return items[spans(starts[kept], sizes[kept])], sequence_starts, ends


def offsets(sizes: np.ndarray) -> np.ndarray:
    """Where pieces of these sizes start when they lie end to end."""
    return np.cumsum(sizes) - sizes


def spans(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """``start, .., start + size - 1`` of every piece, end to end."""
    return np.repeat(starts - offsets(sizes), sizes) + np.arange(sizes.sum())
