"""How a model is asked of whose inside nothing is known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recbole_compress.datafree.sequences import Places, Reading
from recbole_compress.readers.prefixes import Prefixes
from recbole_compress.readers.trained_tensors import trained_tensors
from recbole_compress.readers.trial import Trial

__all__ = ["WholeSequences"]


class WholeSequences(Prefixes):
    """A model whose scores are no function of one vector: its state is the row that it reads."""

    @classmethod
    def tried(cls, model: Any, trial: Trial) -> WholeSequences:
        return cls(model, trial.trims)

    def read(self, places: Places) -> Reading:
        item_seq, lengths = self.padded(places.item_seq, places.lengths)
        rows = torch.arange(len(lengths), dtype=torch.float32, device=self.device)

        def scores(states: Tensor) -> Tensor:
            which = states[:, 0].long()
            return self.ask(item_seq[which], lengths[which])

        def item_scores(states: Tensor, ids: Tensor) -> Tensor:
            return scores(states).gather(1, ids)

        tensors = self._all_tensors()
        return Reading(rows.unsqueeze(1), scores, item_scores, tensors, tensors)

    def _all_tensors(self) -> tuple[Tensor, ...]:
        return tuple(tensor for _, tensor in trained_tensors(self.model))
