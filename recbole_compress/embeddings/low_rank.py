"""CpRec's B1: one low-rank factorisation for the whole catalogue."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_compress.embeddings.base import ItemEmbedding
from recbole_compress.functional.cross_entropy import linear_cross_entropy
from recbole_compress.functional.low_rank import low_rank_factors

__all__ = ["LowRankEmbedding"]


class LowRankEmbedding(ItemEmbedding):
    """Narrow rows and one projection: ``table @ projection``.

    Stores ``(num_embeddings - 1) * rank + rank * embedding_dim`` numbers; the padding id is no
    row of the table.

    Args:
        num_embeddings: Catalogue size including the padding id 0.
        embedding_dim: Width of the vectors handed out.
        rank: Width of the stored rows, 1 .. ``embedding_dim``.
        init_std: Standard deviation of the entries of ``table @ projection`` at the start.

    Raises:
        ValueError: A rank outside 1 .. ``embedding_dim``.

    Example:
        >>> LowRankEmbedding(5, 8, rank=2)(torch.tensor([0, 4])).shape
        torch.Size([2, 8])

    Reference:
        B1 in Sun et al., SIGIR 2020, after ALBERT (Lan et al., ICLR 2020).
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, rank: int, init_std: float = 0.02
    ) -> None:
        super().__init__(num_embeddings, embedding_dim)
        if not 1 <= rank <= embedding_dim:
            raise ValueError(
                f"low_rank_dim={rank}: choose 1 .. {embedding_dim} (the embedding size)"
            )
        self.rank = rank
        self.table = nn.Parameter(torch.empty(num_embeddings - 1, rank))
        self.projection = nn.Parameter(torch.empty(rank, embedding_dim))
        nn.init.normal_(self.table, std=init_std)
        nn.init.normal_(self.projection, std=rank**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        rows = nn.functional.embedding((ids - 1).clamp(min=0), self.table)
        return (rows * (ids != 0).unsqueeze(-1)) @ self.projection

    def dense_weight(self) -> Tensor:
        padding = self.table.new_zeros(1, self.embedding_dim)
        return torch.cat([padding, self.table @ self.projection])

    @torch.no_grad()
    def approximate_(self, table: Tensor) -> None:
        self._check_table(table)
        rows, projection = low_rank_factors(table[1:], self.rank)
        self.table.copy_(rows)
        self.projection.copy_(projection)

    def scores(self, hidden: Tensor) -> Tensor:
        return nn.functional.pad(self._narrow(hidden) @ self.table.T, (1, 0))

    def scores_macs(self) -> int:
        return self.projection.numel() + self.table.numel()

    def cross_entropy(
        self,
        hidden: Tensor,
        targets: Tensor,
        chunk_size: int | None = None,
        excluded: Tensor | None = None,
    ) -> Tensor:
        narrow = self._narrow(hidden)
        excluded = None if excluded is None else excluded - 1
        return linear_cross_entropy(
            narrow, self.table, targets - 1, excluded=excluded, chunk_size=chunk_size
        )

    def _narrow(self, hidden: Tensor) -> Tensor:
        return hidden @ self.projection.T

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rank={self.rank}"
