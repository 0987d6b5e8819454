"""The real train sequences as plain tensors, from any data set class."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["train_sequences"]


def train_sequences(split, max_length: int) -> tuple[Tensor, Tensor]:
    """Pieces of at most ``max_length`` items that show every train interaction exactly once.

    Args:
        split: A built train split, ours or RecBole's own.
        max_length: Items per piece; a longer sequence is cut from its end backwards. Pieces of one
            item are left out: nothing follows in them.

    Returns:
        Item ids ``(B, L)``, right-padded with 0, and lengths ``(B,)``.
    """
    pieces = [
        sequence[max(0, end - max_length) : end]
        for sequence in _whole(split)
        for end in range(len(sequence), 1, -max_length)
    ]
    pieces = [piece for piece in pieces if len(piece) > 1]
    lengths = torch.tensor([len(piece) for piece in pieces])
    item_seq = torch.zeros(len(pieces), int(lengths.max()), dtype=torch.long)
    for row, piece in zip(item_seq, pieces, strict=True):
        row[: len(piece)] = torch.as_tensor(piece)
    return item_seq, lengths


def _whole(split) -> list[np.ndarray]:
    """What the train split shows of every sequence."""
    if hasattr(split, "shown_items"):
        owner, items = (t.numpy() for t in split.shown_items())
        return np.split(items, np.flatnonzero(np.diff(owner)) + 1)
    # RecBole's rows hold histories: prefixes of a sequence until those are too long to be held.
    rows = split.inter_feat
    targets = np.asarray(rows[split.iid_field])
    histories = np.asarray(rows[split.item_id_list_field])
    lengths = np.asarray(rows[split.item_list_length_field])
    whole: list[list[int]] = []
    for history, length, target in zip(histories, lengths, targets, strict=True):
        if length == 1:  # a sequence begins
            whole.append([int(history[0])])
        elif not whole:
            whole.append([int(item) for item in history[: length - 1]])
        whole[-1].append(int(target))
    return [np.asarray(sequence) for sequence in whole]
