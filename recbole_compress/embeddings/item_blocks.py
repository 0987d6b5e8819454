"""ItemBlocks: which item block and row an item id lives in, shared by input and output side."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

__all__ = ["MOST_BLOCKS", "ItemBlocks", "RowsByBlock"]

MOST_BLOCKS = 256  # that a byte can tell apart


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
        rank_of_id: int32, stored.
        id_of_rank: Inverse permutation, int64 ``(num_embeddings - 1,)``; derived, never stored.
        block_of_id: uint8, where the items of every block lie in order of their ids
            (:meth:`sort_`), otherwise None. Stored in place of ``rank_of_id``.

    Example:
        >>> blocks = ItemBlocks((1, 2), torch.tensor([-1, 2, 0, 1], dtype=torch.int32))
        >>> blocks.id_of_rank.tolist(), blocks.starts
        ([2, 3, 1], (0, 1))
    """

    rank_of_id: Tensor
    id_of_rank: Tensor
    block_of_id: Tensor | None

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
        self.register_buffer("id_of_rank", None, persistent=False)
        self.register_buffer("block_of_id", None, persistent=False)
        self._derive()

    @staticmethod
    def _invert(rank_of_id: Tensor) -> Tensor:
        return torch.argsort(rank_of_id[1:].long()) + 1

    def sort_(self) -> list[Tensor]:
        """Bring the items of every block into the order of their ids, which takes fewer bytes.

        With more than :data:`MOST_BLOCKS` blocks it would not, and all stays as it is.

        Returns:
            For every block which of its rows come first, second, ...: whoever owns tables has to
            bring them into that order.

        Example:
            >>> blocks = ItemBlocks((1, 2), torch.tensor([-1, 2, 0, 1], dtype=torch.int32))
            >>> [order.tolist() for order in blocks.sort_()], blocks.id_of_rank.tolist()
            ([[0], [1, 0]], [2, 1, 3])
            >>> blocks.state_dict()["rank_of_id"]
            tensor([0, 1, 0, 1], dtype=torch.uint8)
        """
        if len(self.sizes) > MOST_BLOCKS:  # a block's number takes more than the order saves
            return [torch.arange(size, device=self.rank_of_id.device) for size in self.sizes]
        orders = self.rows_by_id()
        self.rank_of_id = self._ranks(self.blocks_of_ids())
        self._derive()
        return orders

    def rows_by_id(self) -> list[Tensor]:
        """For every block its rows in the order of their items' ids."""
        return [ids.argsort() for ids in self.id_of_rank.split(self.sizes)]

    def blocks_of_ids(self) -> Tensor:
        """Block of every id, uint8 ``(num_embeddings,)``; that of padding means nothing.

        For :data:`MOST_BLOCKS` blocks or fewer.
        """
        starts = torch.tensor(self.starts[1:], device=self.rank_of_id.device)
        return torch.bucketize(self.rank_of_id, starts, right=True).to(torch.uint8)

    def _derive(self) -> None:
        self.id_of_rank = self._invert(self.rank_of_id)
        self.block_of_id = None
        if len(self.sizes) <= MOST_BLOCKS:
            blocks = self.blocks_of_ids()
            if torch.equal(self._ranks(blocks), self.rank_of_id):
                self.block_of_id = blocks

    def _ranks(self, block_of_id: Tensor) -> Tensor:
        """Ranks where the items of a block lie in order of their ids."""
        rank = torch.full_like(block_of_id, -1, dtype=torch.int32)
        order = block_of_id[1:].argsort(stable=True) + 1
        rank[order] = torch.arange(len(order), dtype=torch.int32, device=rank.device)
        return rank

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.block_of_id is not None:
            destination[prefix + "rank_of_id"] = self.block_of_id

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        *_, error_messages = args
        key = prefix + "rank_of_id"
        stored = state_dict.get(key)
        if stored is not None and stored.dtype == torch.uint8:
            counts = torch.bincount(stored[1:], minlength=len(self.sizes)).tolist()
            if counts == list(self.sizes):
                state_dict[key] = self._ranks(stored)
            else:
                error_messages.append(
                    f"{key}: item blocks of {counts}, not {list(self.sizes)} items"
                )
                state_dict[key] = self.rank_of_id
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._derive()

    def extra_repr(self) -> str:
        return f"num_embeddings={self.num_embeddings}, sizes={self.sizes}"


class RowsByBlock(nn.Module, abc.ABC):
    """A module with tables whose rows lie as the items do in its item blocks."""

    item_blocks: ItemBlocks

    @abc.abstractmethod
    def reorder_rows_(self, orders: Sequence[Tensor]) -> None:
        """Follow :meth:`ItemBlocks.sort_`, whose result this takes."""
