"""Scoring with the item embedding's own table."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recbole_compress.embeddings.base import ItemEmbedding
from recbole_compress.heads.base import ItemHead
from recbole_compress.heads.shared_embedding import SharesEmbedding

__all__ = ["TiedHead"]


class TiedHead(ItemHead, SharesEmbedding[ItemEmbedding]):
    """Item scores by the input table: it adds no parameter.

    Equals ``hidden @ embedding.dense_weight().T`` with ``-inf`` for the padding id. Works for any
    item embedding, and leaves it to that one whether a table is ever built.

    Args:
        embedding: The item embedding that the model reads its input with.
        chunk_size: See :class:`~recbole_compress.heads.base.ItemHead`.

    Example:
        >>> from recbole_compress.embeddings import DenseEmbedding
        >>> head = TiedHead(DenseEmbedding(5, 8))
        >>> head.scores(torch.ones(2, 8)).shape, len(head.state_dict())
        (torch.Size([2, 5]), 0)
    """

    def __init__(self, embedding: ItemEmbedding, chunk_size: int | None = None) -> None:
        super().__init__(embedding.num_embeddings, embedding.embedding_dim, chunk_size)
        self._share(embedding)

    def approximate_(self, table: Tensor, hidden: Tensor) -> None:
        self._check_table(table)  # and nothing more, for nothing is its own

    def output_rows(self) -> Tensor:
        return self.embedding.dense_weight()

    def loss(self, hidden: Tensor, targets: Tensor, excluded: Tensor | None = None) -> Tensor:
        self._check_targets(targets)
        return self.embedding.cross_entropy(hidden, targets, self.chunk_size, excluded)

    def scores(self, hidden: Tensor) -> Tensor:
        logits = self.embedding.scores(hidden)
        logits[:, self.padding_idx] = -torch.inf
        return logits

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        self._check_k(k)
        return self.embedding.topk(hidden, k)

    def scorer(self) -> tuple[Callable[[Tensor], Tensor], tuple[Tensor, ...]]:
        return self.embedding.scorer()

    def forward(self, hidden: Tensor, ids: Tensor) -> Tensor:
        # The lookup reads B rows where scores() would read the whole table.
        return self._mask_padding((hidden * self.embedding(ids)).sum(-1), ids)

    def macs(self) -> int:
        return self.embedding.scores_macs()
