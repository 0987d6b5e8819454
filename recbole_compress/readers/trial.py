"""Finding out by trying whether a way of asking gives what the model itself says."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from recbole_compress.datafree.sequences import Reading, Sequences
from recbole_compress.errors import ConfigError
from recbole_compress.functional.probabilities import are_probabilities
from recbole_compress.functional.sequence_mask import sequence_mask
from recbole_compress.readers.sequence_reader import SequenceReader

__all__ = ["Trial"]

_TOLERANCE = 1e-3


class Trial:
    """One model on a few made-up sequences; nothing is asked before a way wants to know.

    Args:
        model: A sequential recommender of RecBole, in evaluation mode.

    Attributes:
        sequences: Short and long ones.
        expected: What ``full_sort_predict`` says of them, ``(B, n_items - 1)``, padding left out.
        trims: Whether it says the same without the padding up to the model's longest.
        gives_probabilities: Whether what it says are probabilities.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    @cached_property
    def sequences(self) -> Sequences:
        generator = torch.Generator().manual_seed(0)
        # Shorter than what the model reads, or nothing would be said of the padding.
        longest = max(1, min(self.model.max_seq_length - 1, 7))
        item_seq = torch.randint(1, self.model.n_items, (6, longest), generator=generator)
        lengths = torch.tensor([longest, 2, max(1, longest - 1), 1, longest, max(1, longest // 2)])
        lengths = lengths.clamp(max=longest)
        return Sequences(item_seq * sequence_mask(lengths, longest), lengths)

    @cached_property
    def expected(self) -> Tensor:
        scores = self._asked(trims=False)
        if scores.shape[1] != self.model.n_items - 1:
            raise ConfigError(
                f"{type(self.model).__name__}: scores {scores.shape[1] + 1} items of "
                f"{self.model.n_items}; it cannot be quantized without data"
            )
        return scores

    @cached_property
    def trims(self) -> bool:
        return self.agrees(lambda: self._asked(trims=True), self.expected)

    @cached_property
    def gives_probabilities(self) -> bool:
        return are_probabilities(self._all_scores(trims=False))

    def _asked(self, trims: bool) -> Tensor:
        return self._all_scores(trims)[:, 1:].clone()

    def _all_scores(self, trims: bool) -> Tensor:
        reader = SequenceReader(self.model, trims)
        return reader.ask(*reader.padded(*self.sequences))

    def at_ends(self, reader: SequenceReader) -> Tensor:
        """What a way of asking says after each whole sequence."""
        return _scores(reader.ends(self.sequences))

    def at_next_places(self, reader: SequenceReader) -> Tensor:
        """What it says at every place that a next item follows."""
        return _scores(reader.read(reader.next_places(self.sequences)))

    def agrees(self, attempt: Callable[[], Tensor], expected: Tensor) -> bool:
        """Whether an attempt succeeds and gives this."""
        try:
            found = attempt()
        except (RuntimeError, IndexError, TypeError, ValueError, AttributeError):
            return False
        if found.shape != expected.shape or not found.numel():
            return False
        scale = expected.abs().amax().clamp(min=1e-6)
        return bool(((found - expected).abs().amax() / scale) < _TOLERANCE)


def _scores(reading: Reading) -> Tensor:
    return reading.scores(reading.states)[:, 1:]
