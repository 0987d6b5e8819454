"""Sequences in batches, looking to RecBole's training loop like its loaders."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from recbole.data.interaction import Interaction

from recbole_compress.datafree import Sequences

__all__ = ["GeneratedBatches", "as_batch", "as_sequences"]

_ITEMS, _LENGTHS = "item_seq", "lengths"


class GeneratedBatches:
    """An epoch of sequences in random order; made when it is asked for.

    Args:
        pool: Makes or remembers the sequences of the current epoch.
        n_sequences: How many those are.
        batch_size: Sequences per batch.
    """

    shuffle = False

    def __init__(self, pool: Callable[[], Sequences], n_sequences: int, batch_size: int) -> None:
        self.pool = pool
        self.n_sequences = n_sequences
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-self.n_sequences // self.batch_size)

    def __iter__(self) -> Iterator[Interaction]:
        sequences = self.pool()
        for which in torch.randperm(len(sequences.lengths)).split(self.batch_size):
            yield as_batch(sequences.take(which))


def as_batch(sequences: Sequences) -> Interaction:
    """For RecBole's loop, which moves interactions to its device."""
    return Interaction({_ITEMS: sequences.item_seq, _LENGTHS: sequences.lengths})


def as_sequences(batch: Interaction) -> Sequences:
    """What :func:`as_batch` packed; on the CPU, where places are chosen."""
    return Sequences(batch[_ITEMS].cpu(), batch[_LENGTHS].cpu())
