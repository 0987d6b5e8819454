"""Looking up vectors that are stored at a different width per item block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["blockwise_lookup"]

_FEW = 128  # ids: the sequence of one request


def blockwise_lookup(
    ranks: Tensor, tables: Sequence[Tensor], projections: Sequence[Tensor | None]
) -> Tensor:
    """Look up item vectors stored at a different width per item block.

    Popular items keep wide rows, rare items narrow ones; a projection per item block brings every
    row to the common width. Equals, without building it::

        dense = torch.cat([t if p is None else t @ p for t, p in zip(tables, projections)])
        return torch.where((ranks >= 0)[..., None], dense[ranks], 0.0)

    Args:
        ranks: Popularity ranks, any shape ``(...)``, integer dtype; negative is padding.
        tables: Item block ``k``: ``(rows_k, dim_k)``, most popular item block first.
        projections: Item block ``k``: ``(dim_k, embedding_dim)``, or None where
            ``dim_k == embedding_dim`` already.

    Returns:
        ``(..., embedding_dim)``, dtype of the tables; all-zero where ``ranks < 0``.

    Example:
        >>> tables, maps = [torch.ones(2, 3), torch.ones(2, 1)], [None, torch.ones(1, 3)]
        >>> blockwise_lookup(torch.tensor([0, 3, -1]), tables, maps)[:, 0].tolist()
        [1.0, 1.0, 0.0]

    Reference:
        Sun et al., "A Generic Network Compression Framework for Sequential Recommender Systems",
        SIGIR 2020, arXiv:2004.13139, input side. Differs: the padding id is not a row of any
        table and always reads as zeros.
    """
    flat = ranks.reshape(-1).long()
    if len(flat) <= _FEW and not torch.is_grad_enabled():
        rows = _from_every_block(flat, tables, projections)
    else:
        rows = _each_from_its_block(flat, tables, projections)
    return rows.view(*ranks.shape, rows.shape[1])


def _from_every_block(
    flat: Tensor, tables: Sequence[Tensor], projections: Sequence[Tensor | None]
) -> Tensor:
    """Looks every id up in every item block and drops what is wrong: few operations for few ids."""
    result: Tensor | float = 0.0
    start = 0
    for table, projection in zip(tables, projections, strict=True):
        rows = F.embedding((flat - start).clamp_(0, len(table) - 1), table)
        rows = rows if projection is None else rows @ projection
        result = torch.where((flat >= start).unsqueeze(1), rows, result)
        start += len(table)
    assert isinstance(result, Tensor)
    return result


def _each_from_its_block(
    flat: Tensor, tables: Sequence[Tensor], projections: Sequence[Tensor | None]
) -> Tensor:
    pieces, positions = [], []
    start = 0
    for table, projection in zip(tables, projections, strict=True):
        end = start + len(table)
        where = ((flat >= start) & (flat < end)).nonzero().squeeze(1)
        rows = F.embedding(flat[where] - start, table)
        pieces.append(rows if projection is None else rows @ projection)
        positions.append(where)
        start = end
    padding = (flat < 0).nonzero().squeeze(1)
    pieces.append(pieces[0].new_zeros(len(padding), pieces[0].shape[1]))
    positions.append(padding)
    # One gather puts the pieces back in order: cheaper than one scatter per item block.
    place = torch.empty_like(flat)
    place[torch.cat(positions)] = torch.arange(len(flat), device=flat.device)
    return torch.cat(pieces).index_select(0, place)
