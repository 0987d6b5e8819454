"""Exact top-k of the two-level softmax, opening a tail only where it can still contribute.

A request is one hidden state, and what it takes is reading the tables. A matrix of 4 columns and a
million rows is multiplied with a vector several times faster as it stands in memory column by
column, so requests read a rearranged copy, :class:`ColumnTables`, which whoever owns the tables
keeps for as long as they do not change.
"""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from recbole_compress.functional.left_out import left_out_
from recbole_compress.functional.topk import row_topk
from recbole_compress.functional.two_level import Tails, left_out_of_first_level

__all__ = ["ColumnTables", "column_tables", "two_level_topk"]

# Logits of the rows that are worked through together, 4 MiB of float32, so that a row stays in
# cache from the product to the softmax.
_BUFFER_ELEMENTS = 2**20
_MOST_ROWS = 16


class ColumnTables(NamedTuple):
    """The tables of a two-level head as requests read them: columns contiguous.

    Attributes:
        first: Popular items, one token per tail, then the tails' projections, all of which are
            multiplied with the hidden state itself: ``(dim, n_head + n_tails + sum(tail_dims))``.
        tails: ``(tail_dim, tail_size)`` each.
    """

    first: Tensor
    tails: tuple[Tensor, ...]


def column_tables(head_weight: Tensor, tails: Tails) -> ColumnTables:
    """A copy of a two-level head's tables, see :mod:`recbole_compress.functional.two_level`.

    Example:
        >>> tables = column_tables(torch.zeros(3, 8), [(torch.zeros(2, 8), torch.zeros(5, 2))])
        >>> tables.first.shape, tables.tails[0].shape
        (torch.Size([8, 5]), torch.Size([2, 5]))
    """
    first = torch.cat([head_weight, *(projection for projection, _ in tails)])
    return ColumnTables(_by_columns(first), tuple(_by_columns(weight) for _, weight in tails))


def _by_columns(table: Tensor) -> Tensor:
    return table.T.clone(memory_format=torch.contiguous_format)


def two_level_topk(
    hidden: Tensor, tables: ColumnTables, k: int, excluded: Tensor | None = None
) -> tuple[Tensor, Tensor, list[int]]:
    """The ``k`` most probable items of every row.

    Equals ``torch.topk(two_level_log_softmax(hidden, head_weight, tails), k)`` for
    ``tables = column_tables(head_weight, tails)``. No item of a tail is more probable than the
    tail's token, so a tail whose token lies below the k-th best *item* found so far holds none of
    the top k.

    Args:
        hidden: ``(N, dim)``.
        tables: See :func:`column_tables`.
        k: At most the number of items.
        excluded: Ranks that are left out of the softmax they stand in, ``(N, E)``, each once, -1
            for none. They may come out all the same where little else is left, with any value.

    Returns:
        Values and ranks ``(N, k)``, best first, and for every tail the number of rows it was
        opened for.

    Example:
        >>> head_weight = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
        >>> tables = column_tables(head_weight, [(torch.zeros(1, 2), torch.zeros(4, 1))])
        >>> values, ranks, opened = two_level_topk(torch.ones(1, 2), tables, k=1)
        >>> ranks.tolist(), opened
        ([[0]], [0])

    Reference:
        CpRec's released code asks whether the token is among the k best *head entries*, tokens
        included. Differs: with two tails or more that rule can miss the best item.
    """
    dims = [len(tail) for tail in tables.tails]
    n_tails = len(dims)
    n_head = tables.first.shape[1] - n_tails - sum(dims)
    items_and_tokens, *narrow = (hidden @ tables.first).split([n_head + n_tails, *dims], dim=1)
    sizes = [tail.shape[1] for tail in tables.tails]
    if excluded is not None:
        first_out = left_out_of_first_level(excluded, n_head, sizes)
        items_and_tokens = left_out_(items_and_tokens, first_out)
    first_level = items_and_tokens.log_softmax(1)
    tokens = first_level[:, n_head:]
    starts = [n_head, *(n_head + end for end in accumulate(sizes))]

    values, ranks = row_topk(first_level[:, :n_head], min(k, n_head))
    if values.shape[1] < k:
        # Places not filled yet hold -inf, so every tail is opened until k items are found.
        missing = (0, k - values.shape[1])
        values = torch.nn.functional.pad(values, missing, value=-torch.inf)
        ranks = torch.nn.functional.pad(ranks, missing)

    opened = [0] * n_tails
    # Any order is exact; likely tails first raise the bar for the others.
    for i in tokens.mean(0).argsort(descending=True).tolist():
        wanted = tokens[:, i] >= values[:, -1]
        opened[i] = int(wanted.sum())
        if opened[i] == 0:
            continue
        # A single row is not picked out of one: picking takes as long as looking into the tail.
        rows = None if opened[i] == len(hidden) else wanted.nonzero().squeeze(1)
        of_tail = None if excluded is None else _rows(excluded, rows) - starts[i]
        best, best_row = _tail_topk(_rows(narrow[i], rows), tables.tails[i], k, of_tail)
        best += _rows(tokens[:, i : i + 1], rows)
        candidates = torch.cat([_rows(values, rows), best], dim=1)
        candidate_ranks = torch.cat([_rows(ranks, rows), best_row + starts[i]], dim=1)
        best, order = candidates.topk(k, dim=1)
        best_ranks = candidate_ranks.gather(1, order)
        if rows is None:
            values, ranks = best, best_ranks
        else:
            values = values.index_copy(0, rows, best)
            ranks = ranks.index_copy(0, rows, best_ranks)
    return values, ranks, opened


def _rows(tensor: Tensor, rows: Tensor | None) -> Tensor:
    return tensor if rows is None else tensor.index_select(0, rows)


def _tail_topk(
    narrow: Tensor, columns: Tensor, k: int, excluded: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Best log-probabilities within one tail and their rows, ``(N, min(k, tail_size))``.

    Args:
        narrow: Hidden states in the tail's width, ``(N, tail_dim)``.
        columns: ``(tail_dim, tail_size)``.
        k: Items wanted.
        excluded: Rows of the tail that are left out, ``(N, E)``; those outside leave out nothing.
    """
    size = columns.shape[1]
    k = min(k, size)
    at_a_time = min(max(_BUFFER_ELEMENTS // size, 1), _MOST_ROWS)
    values, rows = [], []
    for start in range(0, len(narrow), at_a_time):
        chunk = slice(start, start + at_a_time)
        logits = narrow[chunk] @ columns
        if excluded is not None:
            logits = left_out_(logits, excluded[chunk])
        best, best_row = row_topk(logits, k)
        # Relative to the best, whose own share of the sum is 1: neither under- nor overflows. In
        # place: fresh memory for a row of logits costs as much as what is done with it.
        shares = logits.sub_(best[:, :1]).exp_()
        # Half precision ends at 65,504 items that are as good as the best.
        total = shares.sum(1, keepdim=True, dtype=torch.promote_types(shares.dtype, torch.float32))
        values.append(best - best[:, :1] - total.log().to(best.dtype))
        rows.append(best_row)
    return (values[0], rows[0]) if len(values) == 1 else (torch.cat(values), torch.cat(rows))
