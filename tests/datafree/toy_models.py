"""Small recommenders without RecBole's data, for what needs a model but no training."""

from __future__ import annotations

import torch
from torch import nn

from recbole_compress.datafree import Places, Reading


class Markov:
    """A first-order chain with known probabilities, as a NextItemModel."""

    def __init__(self, logits: torch.Tensor, max_length: int = 12) -> None:
        self.logits = logits  # (n_items, n_items); column 0 is padding
        self.n_items = len(logits)
        self.max_length = max_length
        self.passes = 0

    def ends(self, sequences):
        self.passes += 1
        last = sequences.item_seq[torch.arange(len(sequences.lengths)), sequences.lengths - 1]
        return self._reading(self.logits[last])

    def read(self, places: Places):
        return self._reading(self.logits[places.item_seq[places.row, places.seen - 1]])

    @staticmethod
    def _reading(rows):
        return Reading(rows, lambda states: states.clone(), lambda s, ids: s.gather(1, ids), (), ())


class Linear(nn.Module):
    """States times a table."""

    def __init__(self, n: int, n_items: int, dim: int, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.states = nn.Parameter(torch.randn(n, dim, generator=generator))
        self.table = nn.Parameter(torch.randn(n_items, dim, generator=generator))

    def reading(self) -> Reading:
        def item_scores(states, ids):
            return (states.unsqueeze(1) * self.table[ids]).sum(2)

        tensors = (self.table,)
        return Reading(self.states, lambda s: s @ self.table.T, item_scores, tensors, tensors)
