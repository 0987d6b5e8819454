"""The ways of asking, best first.

A new way is a file with a class that has ``tried``, and a place in this list.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

from recbole_compress.readers.every_position import EveryPosition
from recbole_compress.readers.gathered_positions import GatheredPositions
from recbole_compress.readers.masked_positions import MaskedPositions
from recbole_compress.readers.prefixes import Prefixes
from recbole_compress.readers.sequence_reader import SequenceReader
from recbole_compress.readers.trial import Trial
from recbole_compress.readers.whole_sequences import WholeSequences

__all__ = ["WAYS", "Way", "as_reader", "reader_like"]


class Way(Protocol):
    """A class of readers that knows which models it is for."""

    def tried(self, model: Any, trial: Trial) -> SequenceReader | None:
        """A reader of this model; None where the trial says that it would not be right."""


WAYS: list[Way] = [
    EveryPosition,
    MaskedPositions,
    GatheredPositions,
    Prefixes,
    WholeSequences,
]


def as_reader(model: Any) -> SequenceReader:
    """The way to ask this model that gets the most out of one pass; tried on made-up sequences.

    Args:
        model: Ours, or a sequential recommender of RecBole.

    Raises:
        ConfigError: A model that reads more than items.
    """
    training = model.training
    model.eval()
    trial = Trial(model)
    try:
        with torch.no_grad():
            reader = next(found for way in WAYS if (found := way.tried(model, trial)) is not None)
            if not isinstance(reader, EveryPosition):  # ours say logits
                # From here on; what was tried was compared as the model says it.
                reader.gives_probabilities = trial.gives_probabilities
            return reader
    finally:
        model.train(training)


def reader_like(reader: SequenceReader, model: Any) -> SequenceReader:
    """A reader of the same kind for a model of the same class, without trying again."""
    return type(reader)(model, reader.trims, reader.gives_probabilities)
