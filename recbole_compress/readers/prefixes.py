"""How any model is asked that makes its scores from one vector per sequence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recbole_compress.datafree.sequences import Places, Sequences
from recbole_compress.functional.sequence_mask import sequence_mask
from recbole_compress.readers.sequence_reader import SequenceReader
from recbole_compress.readers.trial import Trial

__all__ = ["Prefixes"]

# Prefixes per sequence that are read.
_PREFIXES = 4


class Prefixes(SequenceReader):
    """A model that reads prefixes one by one: some of every sequence."""

    @classmethod
    def tried(cls, model: Any, trial: Trial) -> Prefixes | None:
        reader = cls(model, trial.trims)
        if not trial.agrees(lambda: trial.at_ends(reader), trial.expected):
            return None
        some = torch.tensor([[1, model.n_items - 1]] * len(trial.expected), device=reader.device)
        ends = reader.ends(trial.sequences)
        wanted = trial.expected.gather(1, some - 1)
        return reader if trial.agrees(lambda: ends.item_scores(ends.states, some), wanted) else None

    def places(self, sequences: Sequences, generator: torch.Generator | None = None) -> Places:
        """Some prefixes of every sequence, the whole one among them."""
        n, longest = sequences.item_seq.shape
        rank = torch.rand(n, longest, generator=generator)
        column = torch.arange(longest)
        rank[column >= sequences.lengths.unsqueeze(1) - 1] = -1.0
        row, other = (rank.topk(min(_PREFIXES - 1, longest), 1).values >= 0).nonzero().unbind(1)
        seen = rank.topk(min(_PREFIXES - 1, longest), 1).indices[row, other] + 1
        row, seen = torch.cat([row, torch.arange(n)]), torch.cat([seen, sequences.lengths])
        return self._prefixes(sequences, row, seen)

    def next_places(self, sequences: Sequences) -> Places:
        """Every proper prefix."""
        longest = sequences.item_seq.shape[1]
        row, last = sequence_mask(sequences.lengths - 1, longest - 1).nonzero().unbind(1)
        return self._prefixes(sequences, row, last + 1)

    def _prefixes(self, sequences: Sequences, row: Tensor, seen: Tensor) -> Places:
        item_seq = sequences.item_seq[row]
        item_seq = item_seq * sequence_mask(seen, item_seq.shape[1])
        return Places(item_seq, seen, None, row, seen, self.offset)
