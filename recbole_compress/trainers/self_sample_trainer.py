"""Training without data on what the full-precision model itself recommends."""

from __future__ import annotations

from recbole_compress.trainers.datafree_trainer import DataFreeTrainer

__all__ = ["SelfSampleTrainer"]


class SelfSampleTrainer(DataFreeTrainer):
    """Sequences from the full-precision model itself."""

    recipe = "self_sample"

    def sequences(self, n, generator):
        return self._sampled(n, generator)
