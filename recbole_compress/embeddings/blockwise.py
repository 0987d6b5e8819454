"""CpRec's Bi: popular items wide, rare items narrow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_compress.embeddings.base import ItemEmbedding
from recbole_compress.embeddings.item_blocks import ItemBlocks, RowsByBlock
from recbole_compress.functional.blockwise import blockwise_lookup
from recbole_compress.functional.cross_entropy import blockwise_cross_entropy
from recbole_compress.functional.low_rank import low_rank_factors

__all__ = ["BlockwiseEmbedding"]


class BlockwiseEmbedding(ItemEmbedding, RowsByBlock):
    """A low-rank table per popularity item block, ranks falling towards the tail.

    Item block ``k`` stores ``sizes[k] * dims[k]`` numbers, and ``dims[k] * embedding_dim`` more for
    its projection. A head at full width has no projection unless asked for, as in the
    released code.

    Args:
        item_blocks: Partition of the catalogue; shared with the item head.
        embedding_dim: Width of the vectors handed out.
        dims: Stored width per item block, each 1 .. ``embedding_dim``.
        head_projection: Give the first item block a projection even at full width.
        init_std: Standard deviation of the vectors' entries at the start, for every item block.

    Example:
        >>> blocks = ItemBlocks((1, 3), torch.tensor([-1, 2, 0, 1, 3], dtype=torch.int32))
        >>> table = BlockwiseEmbedding(blocks, embedding_dim=4, dims=(4, 1))
        >>> table(torch.tensor([[2, 0]])).shape, sum(p.numel() for p in table.parameters())
        (torch.Size([1, 2, 4]), 11)

    Reference:
        Sun et al., SIGIR 2020, arXiv:2004.13139, block-wise adaptive decomposition (Bi).
    """

    def __init__(
        self,
        item_blocks: ItemBlocks,
        embedding_dim: int,
        dims: Sequence[int],
        head_projection: bool = False,
        init_std: float = 0.02,
    ) -> None:
        super().__init__(item_blocks.num_embeddings, embedding_dim)
        if len(dims) != len(item_blocks.sizes) or not all(1 <= d <= embedding_dim for d in dims):
            raise ValueError(
                f"dims={tuple(dims)}: give {len(item_blocks.sizes)} widths from 1 to "
                f"{embedding_dim}, one per item block"
            )
        self.item_blocks = item_blocks
        self.dims = tuple(dims)
        self.tables = nn.ParameterList()
        self.projections = nn.ParameterDict()  # keyed by item block: a full-width head has none
        for k, (rows, dim) in enumerate(zip(item_blocks.sizes, self.dims, strict=True)):
            self.tables.append(nn.Parameter(torch.empty(rows, dim).normal_(std=init_std)))
            if dim < embedding_dim or (k == 0 and head_projection):
                projection = torch.empty(dim, embedding_dim).normal_(std=dim**-0.5)
                self.projections[str(k)] = nn.Parameter(projection)

    def projection_of(self, k: int) -> Tensor:
        """Map from item block ``k``'s rows to vectors, ``(dims[k], embedding_dim)``."""
        if str(k) in self.projections:
            return self.projections[str(k)]
        return torch.eye(self.embedding_dim, device=self.tables[k].device)

    def block_weight(self, k: int) -> Tensor:
        """Vectors of item block ``k`` in order of popularity, ``(sizes[k], embedding_dim)``."""
        table, projection = self.tables[k], self.projections.get(str(k))
        return table if projection is None else table @ projection

    @torch.no_grad()
    def reorder_rows_(self, orders: Sequence[Tensor]) -> None:
        for table, order in zip(self.tables, orders, strict=True):
            table.copy_(table[order])

    def _factors(self) -> tuple[list[Tensor], list[Tensor | None]]:
        maps = [self.projections.get(str(k)) for k in range(len(self.dims))]
        return list(self.tables), maps

    def forward(self, ids: Tensor) -> Tensor:
        return blockwise_lookup(self.item_blocks.rank_of_id[ids], *self._factors())

    def _narrowed(self, hidden: Tensor) -> list[Tensor]:
        """Of every item block, what its stored rows are multiplied with, ``(N, dims[k])``."""
        return [hidden if map_ is None else hidden @ map_.T for map_ in self._factors()[1]]

    def scores(self, hidden: Tensor) -> Tensor:
        narrowed = zip(self._narrowed(hidden), self.tables, strict=True)
        by_block = [narrow @ table.T for narrow, table in narrowed]
        # Padding (rank -1) borrows rank 0's column, which means nothing.
        return torch.cat(by_block, 1).index_select(1, self.item_blocks.rank_of_id.clamp(min=0))

    def scores_macs(self) -> int:
        # From the sizes, as quantized factors are no parameters of these shapes.
        narrow = sum(n * dim for n, dim in zip(self.item_blocks.sizes, self.dims, strict=True))
        return narrow + sum(self.dims[int(k)] * self.embedding_dim for k in self.projections)

    def cross_entropy(
        self,
        hidden: Tensor,
        targets: Tensor,
        chunk_size: int | None = None,
        excluded: Tensor | None = None,
    ) -> Tensor:
        rank_of_id = self.item_blocks.rank_of_id
        # What is no item has the rank of padding, which is no class.
        items = targets.where((targets > 0) & (targets < self.num_embeddings), 0)
        return blockwise_cross_entropy(
            self._narrowed(hidden),
            list(self.tables),
            rank_of_id[items].long(),
            excluded=None if excluded is None else rank_of_id[excluded],
            chunk_size=chunk_size,
        )

    def dense_weight(self) -> Tensor:
        by_rank = torch.cat([self.block_weight(k) for k in range(len(self.dims))])
        padding = by_rank.new_zeros(1, self.embedding_dim)
        return torch.cat([padding, by_rank[self.item_blocks.rank_of_id[1:].long()]])

    @torch.no_grad()
    def approximate_(self, table: Tensor) -> None:
        self._check_table(table)
        by_rank = torch.empty_like(table[1:])
        by_rank[self.item_blocks.rank_of_id[1:].long()] = table[1:]
        for k, block in enumerate(by_rank.split(self.item_blocks.sizes)):
            if str(k) in self.projections:
                rows, projection = low_rank_factors(block, self.dims[k])
                self.projections[str(k)].copy_(projection)
            else:
                rows = block
            self.tables[k].copy_(rows)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, dims={self.dims}"
