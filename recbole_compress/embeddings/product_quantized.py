"""A table of a few bytes per item, whose sub-vectors are shared between similar items."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_compress.embeddings.base import ItemEmbedding
from recbole_compress.functional.cross_entropy import linear_cross_entropy
from recbole_compress.functional.product_codes import (
    mean_centroids,
    quantized_rows,
    quantized_scores,
)

__all__ = ["ProductQuantizedEmbedding", "new_centroids"]


def new_centroids(m: int, n_codes: int, dim: int, std: float) -> nn.Parameter:
    """Codebooks ``(m, n_codes, dim / m)`` at the start of training."""
    if m < 1 or dim % m:
        raise ValueError(f"pq_splits={m}: choose a divisor of embedding_size={dim}")
    return nn.Parameter(torch.empty(m, n_codes, dim // m).normal_(std=std))


class ProductQuantizedEmbedding(ItemEmbedding):
    """An item's vector is put together from ``m`` sub-vectors, each chosen by one byte.

    Stores ``m`` bytes per item and ``n_codes * embedding_dim`` numbers for all of them. The codes
    are given and stay; the centroids are trained, and learn from every item that shares them.

    Args:
        codes: uint8 ``(m, num_embeddings - 1)``: item id ``i`` has ``codes[:, i - 1]``; from
            :func:`~recbole_compress.functional.product_codes.quantile_codes`.
        n_codes: Centroids per sub-vector, more than the largest code.
        embedding_dim: Width of the vectors handed out; ``m`` divides it.
        init_std: Standard deviation of the vectors' entries at the start.

    Raises:
        ValueError: ``m`` does not divide the width, or a code has no centroid.

    Example:
        >>> codes = torch.tensor([[0, 1, 1], [1, 0, 1]], dtype=torch.uint8)
        >>> table = ProductQuantizedEmbedding(codes, n_codes=2, embedding_dim=4)
        >>> table(torch.tensor([[0, 3]])).shape, sum(p.numel() for p in table.parameters())
        (torch.Size([1, 2, 4]), 8)

    Reference:
        Petrov and Macdonald, "RecJPQ", WSDM 2024, arXiv:2312.06165.
    """

    codes: Tensor

    def __init__(
        self, codes: Tensor, n_codes: int, embedding_dim: int, init_std: float = 0.02
    ) -> None:
        super().__init__(codes.shape[1] + 1, embedding_dim)
        if codes.device.type != "meta" and int(codes.max()) >= n_codes:
            raise ValueError(f"pq_codes={n_codes}: there is a code {int(codes.max())}")
        self.centroids = new_centroids(len(codes), n_codes, embedding_dim, init_std)
        self.register_buffer("codes", codes)

    def forward(self, ids: Tensor) -> Tensor:
        flat = ids.reshape(-1)
        codes = self.codes.index_select(1, (flat - 1).clamp(min=0))
        vectors = quantized_rows(codes, self.centroids) * (flat != 0).unsqueeze(-1)
        return vectors.view(*ids.shape, self.embedding_dim)

    def dense_weight(self) -> Tensor:
        rows = quantized_rows(self.codes, self.centroids)
        return torch.cat([rows.new_zeros(1, self.embedding_dim), rows])

    @torch.no_grad()
    def approximate_(self, table: Tensor) -> None:
        """Every centroid becomes the mean of its items' sub-vectors; the codes stay."""
        self._check_table(table)
        self.centroids.copy_(mean_centroids(self.codes, table[1:], self.centroids))

    def scores(self, hidden: Tensor) -> Tensor:
        return nn.functional.pad(quantized_scores(self.codes, self.centroids, hidden), (1, 0))

    def scores_macs(self) -> int:
        return self.centroids.numel()

    def cross_entropy(
        self,
        hidden: Tensor,
        targets: Tensor,
        chunk_size: int | None = None,
        excluded: Tensor | None = None,
    ) -> Tensor:
        rows = quantized_rows(self.codes, self.centroids)
        excluded = None if excluded is None else excluded - 1
        return linear_cross_entropy(
            hidden, rows, targets - 1, excluded=excluded, chunk_size=chunk_size
        )

    def extra_repr(self) -> str:
        m, n_codes, _ = self.centroids.shape
        return f"{super().extra_repr()}, splits={m}, codes={n_codes}"
