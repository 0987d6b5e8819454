"""The uncompressed table: one row per item."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_compress.embeddings.base import ItemEmbedding

__all__ = ["DenseEmbedding"]


class DenseEmbedding(ItemEmbedding):
    """One full-width row per item; the reference every other table is measured against.

    Equals ``nn.Embedding(num_embeddings, embedding_dim, padding_idx=0)``.

    Args:
        num_embeddings: Catalogue size including the padding id 0.
        embedding_dim: Width of a row.
        init_std: Standard deviation of the normal initialisation.

    Example:
        >>> table = DenseEmbedding(5, 8)
        >>> table(torch.tensor([[0, 3]])).shape, bool(table(torch.tensor([0])).any())
        (torch.Size([1, 2, 8]), False)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, init_std: float = 0.02) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.weight = nn.Parameter(torch.empty(num_embeddings, embedding_dim))
        nn.init.normal_(self.weight, std=init_std)
        with torch.no_grad():
            self.weight[0].zero_()

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.weight, padding_idx=0)

    def dense_weight(self) -> Tensor:
        return self.weight

    @torch.no_grad()
    def approximate_(self, table: Tensor) -> None:
        self._check_table(table)
        self.weight.copy_(table)
        self.weight[0].zero_()
