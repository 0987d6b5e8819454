"""The same training with the data: quantization-aware training, to compare with."""

from __future__ import annotations

import torch

from recbole_compress.datafree import Sequences
from recbole_compress.trainers.datafree_trainer import DataFreeTrainer

__all__ = ["QATTrainer"]


class QATTrainer(DataFreeTrainer):
    """The real training sequences: what the data would have given.

    Args:
        real: All of them, see :func:`recbole_compress.data.train_sequences.train_sequences`; some
            are held out.
    """

    recipe = "qat"
    reads_data = True

    def __init__(self, config, student, teacher, item_map_sha256=None, *, real: Sequences):
        super().__init__(config, student, teacher, item_map_sha256)
        order = torch.randperm(len(real.lengths), generator=self._chance(-2))
        n_held_out = min(self.settings.n_valid, len(order) // 10 or 1)
        self._apart, self._real = order[:n_held_out], order[n_held_out:]
        self._all = real

    def sequences(self, n, generator):
        # Drawn in any case: it moves the generator on, and results of a seed hang on what follows.
        order = self._real[torch.randint(len(self._real), (n,), generator=generator)]
        if n <= len(self._real):
            order = self._real[torch.randperm(len(self._real), generator=generator)[:n]]
        return self._all.take(order)

    def _held_out_sequences(self):
        return self._all.take(self._apart)
