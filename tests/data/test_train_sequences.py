"""The train sequences, from RecBole's rows in any order."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from recbole_compress.data.train_sequences import train_sequences


def sequences(rows, longest=8):
    """What is read of rows ``(user, history, target)``."""
    width = max(len(history) for _, history, _ in rows)
    table = {
        "user": torch.tensor([user for user, _, _ in rows]),
        "item": torch.tensor([target for _, _, target in rows]),
        "items": torch.tensor(
            [[*history, *[0] * (width - len(history))] for _, history, _ in rows]
        ),
        "length": torch.tensor([len(history) for _, history, _ in rows]),
    }
    split = SimpleNamespace(
        inter_feat=table,
        uid_field="user",
        iid_field="item",
        item_id_list_field="items",
        item_list_length_field="length",
    )
    item_seq, lengths = train_sequences(split, longest)
    return [row[:length].tolist() for row, length in zip(item_seq, lengths, strict=True)]


def test_longest_prefix_first_as_published_splits_have_it():
    rows = [(1, [1, 2, 3], 4), (1, [1, 2], 3), (1, [1], 2), (2, [5, 6], 7), (2, [5], 6)]
    assert sequences(rows) == [[1, 2, 3, 4], [5, 6, 7]]


def test_users_in_turns():
    rows = [(1, [1], 2), (2, [8], 9), (1, [1, 2], 3), (2, [8, 9], 10)]
    assert sequences(rows) == [[1, 2, 3], [8, 9, 10]]


def test_histories_that_lost_their_oldest_items_go_on_all_the_same():
    rows = [(1, [1], 2), (1, [1, 2], 3), (1, [2, 3], 4), (1, [3, 4], 5)]
    assert sequences(rows) == [[1, 2, 3, 4, 5]]


def test_a_row_that_goes_on_from_none_is_a_sequence_of_its_own():
    assert sequences([(1, [1], 2), (1, [1, 3], 4)]) == [[1, 2], [1, 3, 4]]
    assert sequences([(1, [1], 2), (1, [1, 2, 3], 4)]) == [[1, 2, 3, 4]]  # nothing twice
