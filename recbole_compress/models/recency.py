"""The baseline that says again what the sequence holds."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_compress.models.popularity import Pop

__all__ = ["Recency"]


class Recency(Pop):
    """Recommends the items of the sequence again, the latest first, then the most popular others.

    Learns nothing and stores one number per item. Where people come back to the same items, as in
    clicks and purchases of a shop, a model has to beat this before its accuracy says anything of
    what it learned; where nobody comes back, no target is among an evaluation's first ranks.

    The score of an item is the place of its last occurrence, counted from 2, or its popularity,
    1 at most, where it has none::

        max([t + 2 for t in range(L) if item_seq[t] == item], default=popularity[item])

    Args:
        config: RecBole's ``Config`` (or ours).
        dataset: The train split.
    """

    def predict(self, interaction) -> Tensor:
        item = interaction[self.ITEM_ID].unsqueeze(1)
        return self.full_sort_predict(interaction).gather(1, item).squeeze(1)

    def full_sort_predict(self, interaction) -> Tensor:
        item_seq = interaction[self.ITEM_SEQ]
        scores = super().full_sort_predict(interaction)
        place = torch.arange(2, item_seq.shape[1] + 2, device=scores.device).to(scores)
        # Padding writes into its own column, which is no item's.
        scores.scatter_reduce_(1, item_seq, place.expand(item_seq.shape), "amax")
        scores[:, 0] = 0.0
        return scores
