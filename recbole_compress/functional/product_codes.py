"""Product-quantized tables: a few bytes per item that choose among shared sub-vectors.

A vector of width ``dim`` is cut into ``m`` sub-vectors. Each comes from its own small codebook, and
an item stores which: ``codes`` ``(m, n_items)``, uint8; ``centroids`` ``(m, n_codes, dim / m)``::

    table[i] = concatenate(centroids[0, codes[0, i]], ..., centroids[m - 1, codes[m - 1, i]])
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "MAX_CODES",
    "mean_centroids",
    "quantile_codes",
    "quantized_rows",
    "quantized_scores",
]

MAX_CODES = 256  # what a byte can tell apart
# Hidden states up to which adding up looked-up products beats the product with the built table.
_FEW = 12


def quantile_codes(vectors: Tensor, n_codes: int = MAX_CODES) -> Tensor:
    """Codes under which items with similar vectors share centroids.

    Every column is sorted and cut into ``n_codes`` parts of equal size; an item's code is its part.
    So every centroid serves as many items as any other. Equal numbers, such as the zeros of items
    that the train split never shows, fall into parts by chance: the order of rows would tell what
    comes together in the file, test targets included.

    Args:
        vectors: ``(n, m)``, floating.
        n_codes: 1 .. 256.

    Returns:
        uint8 ``(m, n)``.

    Example:
        >>> quantile_codes(torch.tensor([[0.1, 5.0], [0.3, 1.0], [0.2, 3.0], [9.0, 2.0]]), 2)
        tensor([[0, 1, 0, 1],
                [1, 0, 1, 0]], dtype=torch.uint8)

    Reference:
        Petrov and Macdonald, "RecJPQ: Training Large-Catalogue Sequential Recommenders", WSDM 2024,
        arXiv:2312.06165, where the vectors come from a truncated SVD and ties are broken by noise.
    """
    if not 1 <= n_codes <= MAX_CODES:
        raise ValueError(f"pq_codes={n_codes}: choose 1 .. {MAX_CODES}, so that a code is a byte")
    by_chance = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(0))
    place = torch.empty_like(by_chance[:, None].expand(vectors.shape))
    place[by_chance] = vectors[by_chance].argsort(dim=0, stable=True).argsort(dim=0)
    return (place * n_codes // max(len(vectors), 1)).to(torch.uint8).T.contiguous()


def quantized_rows(codes: Tensor, centroids: Tensor) -> Tensor:
    """The vectors that codes stand for, ``(n, dim)``; with all codes of a catalogue, the table.

    Args:
        codes: ``(m, n)``, uint8.
        centroids: ``(m, n_codes, dim / m)``.

    Example:
        >>> centroids = torch.arange(8.0).view(2, 2, 2)
        >>> quantized_rows(torch.tensor([[1], [0]], dtype=torch.uint8), centroids)
        tensor([[2., 3., 4., 5.]])
    """
    m, n_codes, width = centroids.shape
    first = torch.arange(0, m * n_codes, n_codes, device=codes.device)
    place = codes.T.long() + first
    return F.embedding(place, centroids.reshape(m * n_codes, width)).flatten(1)


def mean_centroids(codes: Tensor, rows: Tensor, centroids: Tensor) -> Tensor:
    """The centroids with which :func:`quantized_rows` comes closest to given rows.

    Each is the mean of its items' sub-vectors; one that no item has stays as it is.

    Args:
        codes: ``(m, n)``, uint8.
        rows: ``(n, dim)``.
        centroids: ``(m, n_codes, dim / m)``.

    Example:
        >>> codes, rows = torch.tensor([[1, 1]], dtype=torch.uint8), torch.tensor([[1.0], [3.0]])
        >>> mean_centroids(codes, rows, torch.zeros(1, 2, 1)).flatten()
        tensor([0., 2.])
    """
    m, n_codes, width = centroids.shape
    parts = rows.reshape(-1, m, width).transpose(0, 1)
    found = []
    for old, code, part in zip(centroids, codes.long(), parts, strict=True):
        sums = torch.zeros_like(old).index_add_(0, code, part)
        counts = code.bincount(minlength=n_codes).unsqueeze(1)
        found.append(torch.where(counts > 0, sums / counts.clamp(min=1), old))
    return torch.stack(found)


def quantized_scores(codes: Tensor, centroids: Tensor, hidden: Tensor) -> Tensor:
    """Products of hidden states with all vectors.

    Equals ``hidden @ quantized_rows(codes, centroids).T``. For a few hidden states the table is
    never built: their products with the centroids are looked up and added.

    Args:
        codes: ``(m, n)``, uint8.
        centroids: ``(m, n_codes, dim / m)``.
        hidden: ``(B, dim)``.

    Returns:
        ``(B, n)``.

    Example:
        >>> centroids = torch.arange(8.0).view(2, 2, 2)
        >>> codes = torch.tensor([[1, 0], [0, 1]], dtype=torch.uint8)
        >>> quantized_scores(codes, centroids, torch.ones(1, 4))
        tensor([[14., 14.]])
    """
    if len(hidden) > _FEW:
        return hidden @ quantized_rows(codes, centroids).T
    m, _, width = centroids.shape
    # (m, B, n_codes): what every centroid adds to a score
    products = torch.bmm(
        hidden.view(len(hidden), m, width).transpose(0, 1), centroids.transpose(1, 2)
    )
    scores = hidden.new_zeros(len(hidden), codes.shape[1])
    for split, code in zip(products, codes, strict=True):
        scores = scores + split.index_select(1, code.int())
    return scores
