"""CpRec's Bo: popular items and cluster tokens first, then the items of one tail."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_compress.embeddings.item_blocks import ItemBlocks, RowsByBlock
from recbole_compress.functional.low_rank import low_rank_factors
from recbole_compress.heads.two_level_softmax import TwoLevelSoftmaxHead

__all__ = ["TwoLevelHead"]


class TwoLevelHead(TwoLevelSoftmaxHead, RowsByBlock):
    """A two-level softmax with tables of its own; its scores are log-probabilities.

    The head item block has full-width rows, followed by one row per tail for its cluster token;
    the items of a tail have narrow rows behind a projection. No bias, as in the paper. A single
    item block leaves a full softmax over items in popularity order.

    Args:
        item_blocks: Partition of the catalogue; shared with the item embedding.
        embedding_dim: Width of the hidden states.
        tail_dims: Stored width per tail, each 1 .. ``embedding_dim``.
        chunk_size: See :class:`~recbole_compress.heads.base.ItemHead`.
        init_std: Standard deviation of the output rows' entries at the start, for every item
            block (of the product where the row is factored).

    Raises:
        ValueError: Not one width per tail, or a width outside 1 .. ``embedding_dim``.

    Example:
        >>> blocks = ItemBlocks((1, 3), torch.tensor([-1, 2, 0, 1, 3], dtype=torch.int32))
        >>> head = TwoLevelHead(blocks, embedding_dim=4, tail_dims=(2,))
        >>> scores = head.scores(torch.ones(1, 4))
        >>> scores.shape, round(scores.exp().sum().item(), 3), head.macs()
        (torch.Size([1, 5]), 1.0, 22)

    Reference:
        Sun et al., SIGIR 2020, arXiv:2004.13139, two-level tree softmax (Bo). Differs: ``topk`` is
        exact for any number of tails.
    """

    def __init__(
        self,
        item_blocks: ItemBlocks,
        embedding_dim: int,
        tail_dims: Sequence[int],
        chunk_size: int | None = None,
        init_std: float = 0.02,
    ) -> None:
        super().__init__(item_blocks, embedding_dim, tail_dims, chunk_size)
        n_first = item_blocks.sizes[0] + len(self.tail_dims)
        self.weight = nn.Parameter(torch.empty(n_first, embedding_dim))
        nn.init.normal_(self.weight, std=init_std)
        self.tail_projections = nn.ParameterList()
        self.tail_weights = nn.ParameterList()
        for size, dim in zip(item_blocks.sizes[1:], self.tail_dims, strict=True):
            projection = torch.empty(dim, embedding_dim).normal_(std=dim**-0.5)
            self.tail_projections.append(nn.Parameter(projection))
            self.tail_weights.append(nn.Parameter(torch.empty(size, dim).normal_(std=init_std)))

    def factors(self) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        tails = zip(self.tail_projections, self.tail_weights, strict=True)
        return self.weight, list(tails)

    def _take_over(self, popular: Tensor, tails: list[Tensor], tokens: list[Tensor]) -> None:
        self.weight.copy_(torch.cat([popular, *(token.unsqueeze(0) for token in tokens)]))
        for tail, weight, projection in zip(
            tails, self.tail_weights, self.tail_projections, strict=True
        ):
            rows, map_of_rows = low_rank_factors(tail, weight.shape[1])
            weight.copy_(rows)
            projection.copy_(map_of_rows)

    @torch.no_grad()
    def reorder_rows_(self, orders: Sequence[Tensor]) -> None:
        popular, *rare = orders
        self.weight[: len(popular)] = self.weight[popular]
        for weight, order in zip(self.tail_weights, rare, strict=True):
            weight.copy_(weight[order])

    def _stored(self) -> list[Tensor]:
        return [self.weight, *self.tail_projections, *self.tail_weights]
