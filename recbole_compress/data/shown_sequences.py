"""What the rows of a split show, every interaction once, from histories and targets alone."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch

from recbole_compress.data.prefix_rows import offsets, spans

__all__ = ["shown_by_split", "shown_sequences"]

# Rows compared at a time: their items are copied.
_BLOCK = 2**16


def shown_by_split(split) -> tuple[np.ndarray, np.ndarray]:
    """Number of the sequence and item id of everything that a built split shows, each once.

    Args:
        split: Ours or RecBole's own ``SequentialDataset``.

    Returns:
        Two int64 arrays of one length; the sequences end to end, each in its order.
    """
    if hasattr(split, "shown_items"):
        sequences, items = split.shown_items()
        return sequences.numpy(), items.numpy()
    # RecBole's rows hold the history itself, padded on the right.
    feat = split.inter_feat
    lengths = torch.as_tensor(np.asarray(feat[split.item_list_length_field]))
    rows = torch.nn.functional.pad(torch.as_tensor(feat[split.item_id_list_field]), (0, 1))
    rows.scatter_(1, lengths.unsqueeze(1), torch.as_tensor(feat[split.iid_field]).unsqueeze(1))
    starts = np.arange(len(rows)) * rows.shape[1]
    users = np.asarray(feat[split.uid_field])
    return shown_sequences(users, rows.flatten().numpy(), starts, lengths.numpy())


def shown_sequences(
    users: np.ndarray, items: np.ndarray, starts: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lay the rows of each user end to end, without what a row repeats of another.

    A row goes on where another ended if it begins with all of it, or if its history is all of it
    but its oldest item. The latter only among the longest rows: no others can have lost one. A row
    that goes on from none is a sequence of its own.

    Args:
        users: Whose row it is, ``(rows,)``.
        items: What the rows are cut from: a history, oldest first, and right after it the target.
        starts: Position of every row's first item, ``(rows,)``.
        lengths: Items of its history, ``(rows,)``.

    Returns:
        Number of the sequence, ascending, and item, of everything shown.

    Example:
        >>> items = np.array([7, 8, 9, 1, 8, 9, 2])  # cut to 7 8 -> 9, 8 9 -> 2 and 1 -> 8
        >>> users, starts, lengths = np.array([4, 4, 5]), np.array([0, 4, 3]), np.array([2, 2, 1])
        >>> shown_sequences(users, items, starts, lengths)
        (array([0, 0, 0, 0, 1, 1]), array([7, 8, 9, 2, 1, 8]))
    """
    order = np.lexsort((lengths, users))  # stable: of equal length in the order they came
    users, starts, sizes = users[order], starts[order], lengths[order] + 1
    known = _known_from_the_row_before(users, items, starts, sizes)
    follows = np.where(known > 0, np.arange(len(order)) - 1, -1)
    _join_others(users, items, starts, sizes, known, follows)
    line = _in_line(follows)
    begins = np.ones(len(line), dtype=bool)
    begins[1:] = follows[line[1:]] != line[:-1]
    # Of a user whose every row follows another the oldest items are those of some row.
    alone = begins & (follows[line] >= 0) & ~np.isin(users[line], users[follows < 0])
    known[line[alone]] = 0
    new = sizes[line] - known[line]
    return np.repeat(np.cumsum(begins) - 1, new), items[spans(starts[line] + known[line], new)]


def _known_from_the_row_before(
    users: np.ndarray, items: np.ndarray, starts: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """How many of a row's first items the row before it ends with; 0 where it does not go on."""
    known = np.zeros(len(users), dtype=np.int64)
    row = np.flatnonzero(users[1:] == users[:-1]) + 1
    longest = sizes.max(initial=0)
    cut = row[sizes[row - 1] == longest] if longest > 1 else row[:0]
    cut = cut[_equal(items, starts[cut - 1] + 1, starts[cut], sizes[cut] - 1)]
    known[cut] = sizes[cut] - 1
    row = row[known[row] == 0]
    row = row[_equal(items, starts[row - 1], starts[row], sizes[row - 1])]
    known[row] = sizes[row - 1]
    return known


def _equal(
    items: np.ndarray, firsts: np.ndarray, seconds: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """Whether the ``sizes`` items from two positions on are the same."""
    equal = items[firsts + sizes - 1] == items[seconds + sizes - 1]
    near = np.flatnonzero(equal)
    for start in range(0, len(near), _BLOCK):
        block = near[start : start + _BLOCK]
        ours = items[spans(firsts[block], sizes[block])]
        same = ours == items[spans(seconds[block], sizes[block])]
        equal[block] = np.logical_and.reduceat(same, offsets(sizes[block]))
    return equal


def _join_others(
    users: np.ndarray,
    items: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    known: np.ndarray,
    follows: np.ndarray,
) -> None:
    """Find, for histories cut to a length and in no order, the rows that they go on from."""
    longest = sizes.max(initial=0)
    if longest < 2:
        return
    is_end = sizes >= longest - 1
    is_end[follows[follows >= 0]] = False
    kept = longest - 1
    ending = defaultdict(list)
    for row in np.flatnonzero(is_end):
        end = starts[row] + sizes[row]
        ending[users[row], items[end - kept : end].tobytes()].append(row)
    for row in np.flatnonzero((follows < 0) & (sizes == longest)):
        rows = ending.get((users[row], items[starts[row] : starts[row] + kept].tobytes()))
        if rows:
            follows[row], known[row] = rows.pop(), kept


def _in_line(follows: np.ndarray) -> np.ndarray:
    """All rows, each right after the one that it follows; of a circle some row comes first."""
    begins = follows != np.arange(-1, len(follows) - 1)
    begins[:1] = True
    runs = np.flatnonzero(begins)
    before = follows[runs]
    if (before < 0).all():
        return np.arange(len(follows))
    joined = np.flatnonzero(before >= 0)
    after = np.full(len(runs), -1)
    after[np.searchsorted(runs, before[joined], side="right") - 1] = joined
    line, placed = [], np.zeros(len(runs), dtype=bool)
    for run in (*np.flatnonzero(before < 0), *joined):
        while run >= 0 and not placed[run]:
            placed[run] = True
            line.append(run)
            run = after[run]
    return spans(runs[line], np.diff(np.append(runs, len(follows)))[line])
