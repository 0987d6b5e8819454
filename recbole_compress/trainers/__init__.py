"""RecBole trainers: hooks around its fit loop, never a copy of it.

- ``safe_trainer``: what every run gets, stock models included; ``resumable_training`` is its part
  that saves and goes on.
- ``compress_trainer``: the trainer of this package's models.
- ``recipes``: training recipes by name.
- ``distillation_trainer``: learning from a teacher; with its ``distillation_settings`` and
  ``teacher``, any trained model asked the same way.
- ``transfer_trainer``: fine-tuning a pre-trained model on another catalogue; with its
  ``transfer_settings``.
- ``checkpoint``: writing and reading files that hold data only.
- ``collector``: evaluation without a catalogue-wide integer matrix.
- ``ranks``: where every test row's target stood, written as arrays.
- ``random_state``: every source of chance, for true resumption.
"""

from recbole_compress.trainers.compress_trainer import CompressTrainer
from recbole_compress.trainers.safe_trainer import SafeTrainer

__all__ = ["CompressTrainer", "SafeTrainer"]
