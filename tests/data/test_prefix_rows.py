"""Rows of split files become sequences, each stored once."""

from __future__ import annotations

import numpy as np
import pytest

from recbole_compress.data.prefix_rows import merge_prefix_rows


def one_by_one(sessions, rows, part_ends):
    """Every row beside the last sequence begun, as the docstring tells it."""
    part = np.searchsorted(part_ends, np.arange(len(rows)), side="right").tolist()
    begun, owner, ends = [], None, {}
    for row in sorted(range(len(rows)), key=lambda r: (part[r], sessions[r], -len(rows[r]))):
        key = (part[row], sessions[row])
        if key != owner or begun[-1][: len(rows[row])] != rows[row]:
            begun.append(rows[row])
        owner = key
        ends[row] = sum(map(len, begun[:-1])) + len(rows[row]) - 1
    starts = np.cumsum([0, *map(len, begun[:-1])])
    return sum(begun, []), starts.tolist(), [ends[row] for row in range(len(rows))]


@pytest.mark.parametrize("seed", range(20))
def test_any_rows_in_any_order(seed):
    draw = np.random.default_rng(seed)
    n = int(draw.integers(1, 60))
    rows = [draw.integers(1, 3, size=draw.integers(1, 5)).tolist() for _ in range(n)]
    sessions = draw.integers(1, 1 + n // 4 + 1, size=n)
    part_ends = np.array([n // 2, n // 2, n])  # the middle file is empty
    histories = np.array([item for row in rows for item in row[:-1]], dtype=np.int64)
    lengths = np.array([len(row) - 1 for row in rows])
    targets = np.array([row[-1] for row in rows])
    found = merge_prefix_rows(sessions, histories, lengths, targets, part_ends)
    assert [array.dtype for array in found] == [np.int64] * 3
    assert tuple(array.tolist() for array in found) == one_by_one(sessions, rows, part_ends)
