"""How a model of ours is asked."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from recbole_compress.datafree.sequences import Places, Reading
from recbole_compress.models.compressed_recommender import CompressedRecommender
from recbole_compress.readers.one_pass import OnePass
from recbole_compress.readers.trained_tensors import caches, originals
from recbole_compress.readers.trial import Trial

__all__ = ["EveryPosition"]


class EveryPosition(OnePass):
    """A model of ours: hidden states of all positions by :meth:`hidden_states`."""

    @classmethod
    def tried(cls, model: Any, trial: Trial) -> EveryPosition | None:
        return cls(model) if isinstance(model, CompressedRecommender) else None

    def _states(self, item_seq: Tensor, lengths: Tensor, places: Places) -> Tensor:
        if places.chosen is None:
            return self.model.forward(item_seq, lengths)
        return self.model.hidden_states(item_seq, lengths)[places.chosen.to(self.device)]

    def _reading(self, states: Tensor) -> Reading:
        head = self.model.item_head
        scores, tensors = head.scorer()
        tensors = tuple(tensor for tensor in tensors if tensor.requires_grad)
        if caches():
            # Parameters may stand for cached tensors; what a step has built is what it is.
            behind = {id(p) for _, p in originals(self.model)}
            if any(id(tensor) in behind for tensor in tensors):
                tensors = self._tensors(states, scores)
        # Single items never read the table that the scorer may have put together for all.
        of_items = self._tensors(states, head.scores)
        return Reading(states, scores, head.item_scores, tensors, of_items)
