"""What rows show is counted once, whatever is cut off them and in whatever order they come."""

from __future__ import annotations

import numpy as np
import pytest
from recbole.data.dataset import SequentialDataset

from recbole_compress.data import SequenceDataset, train_item_counts
from recbole_compress.data.item_vectors import train_item_vectors
from recbole_compress.data.shown_sequences import shown_sequences
from tests.data.test_sequence_dataset import SPLIT, make_config

HEAD = "session_id:token\titem_id_list:token_seq\titem_id:token\n"


def shown(rows):
    """The sequences that are read of rows ``(user, history and target)``."""
    sizes = np.array([len(row) for _, row in rows])
    owner, items = shown_sequences(
        np.array([user for user, _ in rows]),
        np.array([item for _, row in rows for item in row]),
        np.cumsum(sizes) - sizes,
        sizes - 1,
    )
    return [items[owner == number].tolist() for number in range(owner.max() + 1)]


def prefixes(sequence, longest):
    return [(1, sequence[max(0, k - longest) : k + 1]) for k in range(1, len(sequence))]


@pytest.mark.parametrize("longest", [1, 2, 3, 50])
@pytest.mark.parametrize("order", ["as they came", "longest first", "shuffled"])
def test_a_sequence_of_different_items_comes_back_whole(longest, order):
    rows = prefixes(list(range(5, 17)), longest)
    if order == "longest first":
        rows = rows[::-1]
    if order == "shuffled":
        rows = [rows[row] for row in np.random.default_rng(0).permutation(len(rows))]
    assert shown(rows) == [list(range(5, 17))]


@pytest.mark.parametrize("seed", range(20))
def test_items_that_come_again_count_every_time(seed):
    draw = np.random.default_rng(seed)
    sequence = draw.integers(1, 4, size=int(draw.integers(4, 40))).tolist()
    rows = prefixes(sequence, 3)
    assert shown(rows) == [sequence]
    shuffled = [rows[row] for row in draw.permutation(len(rows))]
    # Equal rows one after the other are taken for one row twice: that may cost a history.
    longest = [row for row in shuffled if len(row[1]) == 4]
    equal = sum(a == b for a, b in zip(longest, longest[1:], strict=False))
    assert abs(sum(map(len, shown(shuffled))) - len(sequence)) <= 3 * equal


def test_rows_of_different_histories_share_nothing():
    assert shown([(1, [1, 2]), (1, [3, 2]), (2, [1, 2])]) == [[1, 2], [3, 2], [1, 2]]
    assert shown([(1, [2, 2, 2])]) == [[2, 2, 2]]  # and goes on from none, not from itself
    assert shown([(1, [2])]) == [[2]]


def write(folder, sessions, rows_of):
    target = folder / "split"
    target.mkdir()
    for part in ("train", "valid", "test"):
        lines = [
            f"{number}{part}\t{' '.join(row[:-1])}\t{row[-1]}\n"
            for number, session in enumerate(sessions)
            for row in rows_of(session)
        ]
        (target / f"split.{part}.inter").write_text(HEAD + "".join(lines))
    return str(folder)


SESSIONS = [list("abcdef"), list("cab"), list("fedc"), list("ccacbcc"), list("gf")]
FILES = {
    "every prefix": lambda s: [s[:k] for k in range(len(s), 1, -1)],
    "whole sessions": lambda s: [s],
    "prefixes cut to three": lambda s: [s[max(0, k - 4) : k] for k in range(len(s), 1, -1)],
}


@pytest.mark.parametrize("files", FILES)
def test_every_form_of_split_files_shows_the_same_to_every_data_set(tmp_path, files):
    path = write(tmp_path, SESSIONS, FILES[files])
    for longest in (50, 3):
        if files == "whole sessions" and longest == 3:
            continue  # what is cut there, no other row shows
        config = make_config(path, "split", **{**SPLIT, "MAX_ITEM_LIST_LENGTH": longest})
        ours, theirs = (kind(config).build()[0] for kind in (SequenceDataset, SequentialDataset))
        names = ours.field2id_token["item_id"]
        counts = dict(zip(names, train_item_counts(ours).tolist(), strict=True))
        items = "".join(map("".join, SESSIONS))
        assert counts == {"[PAD]": 0, **{item: items.count(item) for item in set(items)}}
        assert train_item_counts(ours).equal(train_item_counts(theirs))
        assert train_item_vectors(ours, 3).equal(train_item_vectors(theirs, 3))
