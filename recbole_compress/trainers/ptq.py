"""Quantization after training, with no training at all."""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction

from recbole_compress.errors import ConfigError
from recbole_compress.functional.sequence_mask import sequence_mask
from recbole_compress.models.compressed_recommender import n_readable_items
from recbole_compress.quantization import calibrating, quantize_
from recbole_compress.readers import SequenceReader
from recbole_compress.trainers.quantization_job import QuantizationJob, QuantizationWork

__all__ = ["check_ptq", "ptq", "random_sequences"]

# Sequences scored together while ranges are found.
_BATCH = 64


def ptq(job: QuantizationJob) -> QuantizationWork:
    """Fit every grid to its numbers, and static activation ranges to random sequences.

    Takes seconds. Args and result: see
    :class:`~recbole_compress.trainers.quantization_recipes.QuantizationRecipe`.
    """
    model, spec = job.model, job.spec
    if job.config["df_resume"]:
        raise ConfigError(
            f"df_resume={job.config['df_resume']}: ptq trains nothing that could be gone on with; "
            "leave it out, or name the recipe of the interrupted training"
        )
    report = quantize_(model, spec)
    n_shown = 0
    if spec.activation_range == "static":
        n_shown = job.config["calibration_sequences"]
        sequences = random_sequences(model, n_shown)
        with torch.no_grad(), calibrating(model):
            for start in range(0, len(sequences), _BATCH):
                model.full_sort_predict(sequences[start : start + _BATCH])
    return QuantizationWork(report, sequences=n_shown)


def check_ptq(model: Any, config: Any) -> None:
    """Refuse a model whose activation ranges could not be found.

    Args:
        model: Any sequential model.
        config: Its ``activation_range`` is read.

    Raises:
        ConfigError: A model that reads more than items, where ranges are to be static.
    """
    if config["activation_range"] == "static":
        one = random_sequences(model, 1)
        with torch.no_grad():
            SequenceReader(model).ask(one[model.ITEM_SEQ], one[model.ITEM_SEQ_LEN])


def random_sequences(model: Any, n: int) -> Interaction:
    """``n`` sequences of uniformly random items and lengths, as RecBole's models take them.

    Args:
        model: Any sequential model.
        n: How many.
    """
    longest, known = model.max_seq_length, n_readable_items(model)
    lengths = torch.randint(1, longest + 1, (n,))
    items = torch.randint(1, known, (n, longest)) * sequence_mask(lengths, longest)
    fields = {
        model.ITEM_SEQ: items,
        model.ITEM_SEQ_LEN: lengths,
        model.USER_ID: torch.ones_like(lengths),
    }
    return Interaction(fields).to(model.device)
