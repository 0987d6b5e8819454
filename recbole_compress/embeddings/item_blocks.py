"""ItemBlocks: which item block and row an item id lives in, shared by input and output side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

__all__ = ["ItemBlocks"]


class ItemBlocks(nn.Module):
    """A partition of the catalogue by popularity, stored with the model.

    RecBole numbers items by first appearance; CpRec needs them by frequency. The permutation
    comes from the train split and must travel with the weights, so it is a buffer. One
    instance is shared by the item embedding and the item head, hence stored once.

    Args:
        sizes: Items per item block, most popular first; they sum to ``num_embeddings - 1``.
        rank_of_id: int32 ``(num_embeddings,)`` from
            :func:`~recbole_compress.functional.item_blocks.rank_by_frequency`.

    Attributes:
        num_embeddings: Catalogue size including the padding id 0.
        starts: First rank of every item block.
        rank_of_id: Stored buffer, int32.
        id_of_rank: Inverse permutation, int64 ``(num_embeddings - 1,)``; derived, never stored.

    Example:
        >>> blocks = ItemBlocks((1, 2), torch.tensor([-1, 2, 0, 1], dtype=torch.int32))
        >>> blocks.id_of_rank.tolist(), blocks.starts
        ([2, 3, 1], (0, 1))
    """

    rank_of_id: Tensor
    id_of_rank: Tensor

    def __init__(self, sizes: Sequence[int], rank_of_id: Tensor) -> None:
        super().__init__()
        self.sizes = tuple(int(size) for size in sizes)
        self.num_embeddings = len(rank_of_id)
        if sum(self.sizes) != self.num_embeddings - 1 or min(self.sizes) < 1:
            raise ValueError(
                f"sizes={self.sizes}: item blocks must hold at least one item each and "
                f"{self.num_embeddings - 1} items together"
            )
        self.starts = (0, *accumulate(self.sizes))[:-1]
        self.register_buffer("rank_of_id", rank_of_id.to(torch.int32))
        self.register_buffer("id_of_rank", self._invert(rank_of_id), persistent=False)

    @staticmethod
    def _invert(rank_of_id: Tensor) -> Tensor:
        return torch.argsort(rank_of_id[1:].long()) + 1

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.id_of_rank = self._invert(self.rank_of_id)

    def extra_repr(self) -> str:
        return f"num_embeddings={self.num_embeddings}, sizes={self.sizes}"
