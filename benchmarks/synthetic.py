"""Catalogues and sequences of any size whose items are as unequal as real ones (Zipf)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["ZipfCatalogue"]


class ZipfCatalogue:
    """Items whose frequency falls as ``1 / rank ** exponent``, ranks dealt to ids by chance.

    Stands in for a train split where only a model's constructor asks for it.

    Args:
        n_items: Real items; ids are 1 .. ``n_items``, 0 is padding.
        exponent: Steepness; 1 is Zipf's law.
        interactions_per_item: Mean of the item counts; the rarest items get none.
        seed: Of ranks and of what is drawn.

    Example:
        >>> catalogue = ZipfCatalogue(4, exponent=1.0, interactions_per_item=25, seed=0)
        >>> sorted(catalogue.item_counts().tolist())
        [0, 12, 16, 24, 48]
        >>> catalogue.draw(2, 3).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        n_items: int,
        exponent: float = 1.0,
        interactions_per_item: float = 20.0,
        seed: int = 0,
    ) -> None:
        self.n_items = n_items
        self._random = np.random.default_rng(seed)
        self._id_of_rank = self._random.permutation(n_items) + 1
        weights = np.arange(1, n_items + 1, dtype=np.float64) ** -exponent
        self._below = np.cumsum(weights / weights.sum())
        counts = np.zeros(n_items + 1, dtype=np.int64)
        counts[self._id_of_rank] = weights / weights.sum() * interactions_per_item * n_items
        self._counts = torch.from_numpy(counts)

    def draw(self, *shape: int) -> Tensor:
        """Item ids, independent of each other, int64 of this shape."""
        ranks = np.searchsorted(self._below, self._random.random(shape))
        return torch.from_numpy(self._id_of_rank[ranks.clip(max=self.n_items - 1)])

    def item_counts(self) -> Tensor:
        """Expected frequencies, int64 ``(n_items + 1,)``."""
        return self._counts

    def num(self, field: str) -> int:
        """RecBole's size of an id field: one user, and the items with their padding."""
        return {"user_id": 2, "item_id": self.n_items + 1}[field]
