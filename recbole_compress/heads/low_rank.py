"""CpRec's B1 on the output side: one low-rank factorisation for the whole catalogue."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_compress.functional.cross_entropy import linear_cross_entropy
from recbole_compress.functional.low_rank import low_rank_factors
from recbole_compress.heads.base import ItemHead

__all__ = ["LowRankHead"]


class LowRankHead(ItemHead):
    """Output rows ``weight @ projection``, never built: the hidden state is narrowed instead.

    Stores ``(num_embeddings - 1) * rank + rank * embedding_dim`` numbers; the padding id is no
    row of the table. Equals ``hidden @ (weight @ projection).T + bias`` behind a ``-inf`` for
    the padding id.

    Args:
        num_embeddings: Catalogue size including the padding id 0.
        embedding_dim: Width of the hidden states.
        rank: Width of the stored rows, 1 .. ``embedding_dim``.
        bias: Add one learned number per item.
        chunk_size: See :class:`~recbole_compress.heads.base.ItemHead`.
        init_std: Standard deviation of the entries of ``weight @ projection`` at the start.

    Raises:
        ValueError: A rank outside 1 .. ``embedding_dim``.

    Example:
        >>> head = LowRankHead(5, 8, rank=2)
        >>> head.scores(torch.ones(1, 8)).shape, sum(p.numel() for p in head.parameters())
        (torch.Size([1, 5]), 24)

    Reference:
        B1 in Sun et al., SIGIR 2020, after ALBERT (Lan et al., ICLR 2020).
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        rank: int,
        bias: bool = False,
        chunk_size: int | None = None,
        init_std: float = 0.02,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, chunk_size)
        if not 1 <= rank <= embedding_dim:
            raise ValueError(f"rank={rank}: choose 1 .. {embedding_dim}, the hidden states' width")
        self.rank = rank
        self.weight = nn.Parameter(torch.empty(num_embeddings - 1, rank))
        self.projection = nn.Parameter(torch.empty(rank, embedding_dim))
        # A sum of ``rank`` products: the projection's std keeps the product at init_std.
        nn.init.normal_(self.weight, std=init_std)
        nn.init.normal_(self.projection, std=rank**-0.5)
        self.bias = nn.Parameter(torch.zeros(num_embeddings - 1)) if bias else None

    def _narrow(self, hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden, self.projection)

    @torch.no_grad()
    def approximate_(self, table: Tensor, hidden: Tensor) -> None:
        self._check_table(table)
        rows, projection = low_rank_factors(table[1:], self.rank)
        self.weight.copy_(rows)
        self.projection.copy_(projection)

    def output_rows(self) -> Tensor:
        return nn.functional.pad(self.weight @ self.projection, (0, 0, 1, 0))

    def loss(self, hidden: Tensor, targets: Tensor, excluded: Tensor | None = None) -> Tensor:
        self._check_targets(targets)
        return linear_cross_entropy(
            self._narrow(hidden),
            self.weight,
            targets - 1,
            self.bias,
            excluded=None if excluded is None else excluded - 1,
            chunk_size=self.chunk_size,
        )

    def scores(self, hidden: Tensor) -> Tensor:
        logits = nn.functional.linear(self._narrow(hidden), self.weight, self.bias)
        return nn.functional.pad(logits, (1, 0), value=-torch.inf)

    def forward(self, hidden: Tensor, ids: Tensor) -> Tensor:
        rows = (ids - 1).clamp(min=0)  # padding reads any row and is masked below
        scores = (self._narrow(hidden) * self.weight[rows]).sum(-1)
        if self.bias is not None:
            scores = scores + self.bias[rows]
        return self._mask_padding(scores, ids)

    def macs(self) -> int:
        return self.rank * self.embedding_dim + (self.num_embeddings - 1) * self.rank

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rank={self.rank}, bias={self.bias is not None}"
