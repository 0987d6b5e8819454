"""RecBole trainers: hooks around its fit loop, never a copy of it.

Every training:

- ``safe_trainer``: what every run gets, stock models included; ``resumable_training`` is its part
  that saves and goes on.
- ``compress_trainer``: the trainer of this package's models.
- ``checkpoint``: writing and reading files that hold data only; ``pickled_checkpoint``: RecBole's.
- ``random_state``: every source of chance, for true resumption.
- ``precision``, ``clipping``: how exactly it multiplies, how far a step may go.
- ``masked_sequences``: what RecBole's masking cannot do, refused.

Evaluation:

- ``collector``: without a catalogue-wide integer matrix.
- ``ranks``: where every test row's target stood, written as arrays.
- ``history``: rankings without what is in the sequence already.

Recipes of training, by name in ``recipes``:

- ``distillation_trainer``: learning from a teacher; with its ``distillation_settings`` and
  ``teacher``, any trained model asked the same way; ``teachers_weights``: beginning with them.
- ``transfer_trainer``: fine-tuning a pre-trained model on another catalogue; with its
  ``transfer_settings``.

Recipes of quantization, by name in ``quantization_recipes``:

- ``quantization_job``: what one is given and hands back; ``quantization_settings``: its keys.
- ``ptq``: without training.
- ``datafree_recipe``: with, by one of the trainers below; ``datafree_settings``: its keys.
- ``datafree_trainer``: answering as the original, without data; ``generated_batches``: what it
  reads, ``best_weights``: what it keeps, ``discrepancy_terms``: PRecQ's losses.
- ``self_sample_trainer``, ``noise_trainer``, ``adversarial_trainer``, ``qat_trainer``: on the
  model's own sequences, on noise, in a game with a generator, on the real ones.
- ``bit_budget``: bits for every tensor, so that a file is no larger than asked.
"""

from recbole_compress.trainers.compress_trainer import CompressTrainer
from recbole_compress.trainers.safe_trainer import SafeTrainer

__all__ = ["CompressTrainer", "SafeTrainer"]
