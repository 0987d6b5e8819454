"""The real train sequences as plain tensors, from any data set class."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recbole_compress.data.shown_sequences import shown_by_split
from recbole_compress.errors import DataError

__all__ = ["train_sequences"]


def train_sequences(split, max_length: int) -> tuple[Tensor, Tensor]:
    """Pieces of at most ``max_length`` items that show every train interaction once.

    Of a split that is no longer whole sequences (such as a random one) a row whose history does
    not go on where another ended becomes a sequence of its own, history and target.

    Args:
        split: A built train split, ours or RecBole's own.
        max_length: Items per piece; a longer sequence is cut from its end backwards. Pieces of one
            item are left out: nothing follows in them.

    Returns:
        Item ids ``(B, L)``, right-padded with 0, and lengths ``(B,)``.
    """
    owner, items = shown_by_split(split)
    pieces = [
        sequence[max(0, end - max_length) : end]
        for sequence in np.split(items, np.flatnonzero(np.diff(owner)) + 1)
        for end in range(len(sequence), 1, -max_length)
    ]
    pieces = [piece for piece in pieces if len(piece) > 1]
    if not pieces:
        raise DataError(
            f"MAX_ITEM_LIST_LENGTH={max_length}: no train sequence of two items or more is left"
        )
    lengths = torch.tensor([len(piece) for piece in pieces])
    item_seq = torch.zeros(len(pieces), int(lengths.max()), dtype=torch.long)
    for row, piece in zip(item_seq, pieces, strict=True):
        row[: len(piece)] = torch.as_tensor(piece)
    return item_seq, lengths
