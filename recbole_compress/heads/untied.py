"""The uncompressed head: an output table of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_compress.functional.cross_entropy import linear_cross_entropy
from recbole_compress.heads.base import ItemHead

__all__ = ["UntiedHead"]


class UntiedHead(ItemHead):
    """One full-width output row per item; the reference every other head is measured against.

    Equals ``hidden @ weight.T + bias`` with ``-inf`` for the padding id. Row 0 of the weight (and
    of the bias) is zero and never gets a gradient.

    Args:
        num_embeddings: Catalogue size including the padding id 0.
        embedding_dim: Width of the hidden states.
        bias: Add one learned number per item, as the original NextItNet does.
        chunk_size: See :class:`~recbole_compress.heads.base.ItemHead`.
        init_std: Standard deviation of the weight at the start; the bias starts at 0.

    Example:
        >>> head = UntiedHead(5, 8)
        >>> values, ids = head.topk(torch.ones(2, 8), k=3)
        >>> ids.shape, bool((ids == 0).any())
        (torch.Size([2, 3]), False)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        bias: bool = False,
        chunk_size: int | None = None,
        init_std: float = 0.02,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, chunk_size)
        self.weight = nn.Parameter(torch.empty(num_embeddings, embedding_dim))
        nn.init.normal_(self.weight, std=init_std)
        with torch.no_grad():
            self.weight[self.padding_idx].zero_()
        self.bias = nn.Parameter(torch.zeros(num_embeddings)) if bias else None

    @torch.no_grad()
    def approximate_(self, table: Tensor, hidden: Tensor) -> None:
        self._check_table(table)
        self.weight[1:] = table[1:]

    def output_rows(self) -> Tensor:
        return self.weight

    def loss(self, hidden: Tensor, targets: Tensor, excluded: Tensor | None = None) -> Tensor:
        self._check_targets(targets)
        return linear_cross_entropy(
            hidden,
            self.weight,
            targets,
            self.bias,
            first_class=1,
            excluded=excluded,
            chunk_size=self.chunk_size,
        )

    def scores(self, hidden: Tensor) -> Tensor:
        logits = nn.functional.linear(hidden, self.weight, self.bias)
        logits[:, self.padding_idx] = -torch.inf
        return logits

    def forward(self, hidden: Tensor, ids: Tensor) -> Tensor:
        scores = (hidden * self.weight[ids]).sum(-1)
        if self.bias is not None:
            scores = scores + self.bias[ids]
        return self._mask_padding(scores, ids)

    def macs(self) -> int:
        return self.num_embeddings * self.embedding_dim

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bias={self.bias is not None}"
