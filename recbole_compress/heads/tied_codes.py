"""Scoring with the input side's codes and centroids of the head's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_compress.embeddings.base import ItemEmbedding
from recbole_compress.embeddings.product_quantized import (
    ProductQuantizedEmbedding,
    new_centroids,
)
from recbole_compress.functional.cross_entropy import linear_cross_entropy
from recbole_compress.functional.product_codes import (
    mean_centroids,
    quantized_rows,
    quantized_scores,
)
from recbole_compress.heads.base import ItemHead
from recbole_compress.heads.shared_embedding import SharesEmbedding

__all__ = ["TiedCodesHead"]


class TiedCodesHead(ItemHead, SharesEmbedding[ProductQuantizedEmbedding]):
    """An output table of its own for the price of its codebooks.

    Which items share a sub-vector is known from the input side; what the sub-vector is, the
    head learns for itself. So it is as free as an untied head at the bytes of a tied one.

    Args:
        embedding: The input side, a
            :class:`~recbole_compress.embeddings.ProductQuantizedEmbedding`.
        chunk_size: See :class:`~recbole_compress.heads.base.ItemHead`.
        init_std: Standard deviation of the output rows' entries at the start.

    Raises:
        ValueError: An embedding without codes.

    Example:
        >>> codes = torch.tensor([[0, 1, 1], [1, 0, 1]], dtype=torch.uint8)
        >>> head = TiedCodesHead(ProductQuantizedEmbedding(codes, n_codes=2, embedding_dim=4))
        >>> head.scores(torch.ones(2, 4)).shape, list(head.state_dict())
        (torch.Size([2, 4]), ['centroids'])
    """

    def __init__(
        self, embedding: ItemEmbedding, chunk_size: int | None = None, init_std: float = 0.02
    ) -> None:
        if not isinstance(embedding, ProductQuantizedEmbedding):
            raise ValueError(
                f"{type(embedding).__name__} has no codes to share; choose "
                "item_embedding=product_quantized, or item_head=tied or untied"
            )
        super().__init__(embedding.num_embeddings, embedding.embedding_dim, chunk_size)
        self._share(embedding)
        m, n_codes, _ = embedding.centroids.shape
        self.centroids = new_centroids(m, n_codes, self.embedding_dim, init_std)

    @property
    def codes(self) -> Tensor:
        return self.embedding.codes

    @torch.no_grad()
    def approximate_(self, table: Tensor, hidden: Tensor) -> None:
        self._check_table(table)
        self.centroids.copy_(mean_centroids(self.codes, table[1:], self.centroids))

    def output_rows(self) -> Tensor:
        return nn.functional.pad(quantized_rows(self.codes, self.centroids), (0, 0, 1, 0))

    def loss(self, hidden: Tensor, targets: Tensor, excluded: Tensor | None = None) -> Tensor:
        self._check_targets(targets)
        rows = quantized_rows(self.codes, self.centroids)
        excluded = None if excluded is None else excluded - 1
        return linear_cross_entropy(
            hidden, rows, targets - 1, excluded=excluded, chunk_size=self.chunk_size
        )

    def scores(self, hidden: Tensor) -> Tensor:
        scores = quantized_scores(self.codes, self.centroids, hidden)
        return nn.functional.pad(scores, (1, 0), value=-torch.inf)

    def forward(self, hidden: Tensor, ids: Tensor) -> Tensor:
        codes = self.codes.index_select(1, (ids - 1).clamp(min=0))
        rows = quantized_rows(codes, self.centroids)
        return self._mask_padding((hidden * rows).sum(-1), ids)

    def macs(self) -> int:
        return self.centroids.numel()
