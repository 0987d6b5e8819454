"""Sequences asked at all of their positions in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_compress.datafree.sequences import Places, Sequences
from recbole_compress.functional.sequence_mask import sequence_mask
from recbole_compress.readers.sequence_reader import SequenceReader

__all__ = ["OnePass"]


class OnePass(SequenceReader):
    """Places of a model whose states at every position are those of the prefixes up to there."""

    def places(self, sequences: Sequences, generator: torch.Generator | None = None) -> Places:
        return self._at(sequences, sequences.lengths)

    def next_places(self, sequences: Sequences) -> Places:
        return self._at(sequences, sequences.lengths - 1)

    def _at(self, sequences: Sequences, n_places: Tensor) -> Places:
        item_seq, lengths = sequences
        chosen = sequence_mask(n_places, item_seq.shape[1])
        row, column = chosen.nonzero().unbind(1)
        return Places(item_seq, lengths, chosen, row, column + 1, self.offset)
