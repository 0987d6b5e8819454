"""Training without data on noise."""

from __future__ import annotations

from recbole_compress.datafree import noise_sequences
from recbole_compress.trainers.datafree_trainer import DataFreeTrainer

__all__ = ["NoiseTrainer"]


class NoiseTrainer(DataFreeTrainer):
    """Uniformly random items: what any data-free method has to beat."""

    recipe = "noise"

    def sequences(self, n, generator):
        return noise_sequences(
            self.teacher.n_items, self.teacher.max_length, n, self.settings.sampling, generator
        )
