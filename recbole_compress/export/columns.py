"""Which item a column of a score matrix belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from recbole_compress.embeddings import ItemBlocks
from recbole_compress.export.graph import INT64, Graph
from recbole_compress.export.storage import as_array

__all__ = ["Columns", "by_id", "by_rank", "one_behind", "scattered"]


class Columns(NamedTuple):
    """The order of a score matrix's columns.

    Attributes:
        n_items: Catalogue size including the padding id 0.
        n_columns: Columns of the matrix.
        to_ids: Columns to item ids, both int64.
        of_ids: Item ids to columns; padding gets any.
    """

    n_items: int
    n_columns: int
    to_ids: Callable[[Graph, str], str]
    of_ids: Callable[[Graph, str], str]


def by_id(n_items: int) -> Columns:
    """Column ``i`` is item ``i``, padding included."""
    return Columns(n_items, n_items, lambda graph, x: x, lambda graph, x: x)


def one_behind(n_items: int) -> Columns:
    """Column ``i`` is item ``i + 1``: padding has none."""

    def to_ids(graph: Graph, columns: str) -> str:
        return graph.op("Add", columns, graph.constant(1, np.int64))

    def of_ids(graph: Graph, ids: str) -> str:
        column = graph.op("Sub", ids, graph.constant(1, np.int64))
        return graph.clip(column, 0, n_items - 2)

    return Columns(n_items, n_items - 1, to_ids, of_ids)


def scattered(n_items: int, factor: int) -> Columns:
    """Item ``i`` has column ``(i - 1) * factor % (n_items - 1)``: nothing is stored."""
    if factor == 1:
        return one_behind(n_items)
    n = n_items - 1

    def multiplied(graph: Graph, x: str, by: int) -> str:
        product = graph.op("Mul", x, graph.constant(by, np.int64))
        return graph.op("Mod", product, graph.constant(n, np.int64))

    def to_ids(graph: Graph, columns: str) -> str:
        row = multiplied(graph, columns, pow(factor, -1, n))
        return graph.op("Add", row, graph.constant(1, np.int64))

    def of_ids(graph: Graph, ids: str) -> str:
        return multiplied(graph, graph.op("Sub", ids, graph.constant(1, np.int64)), factor)

    return Columns(n_items, n, to_ids, of_ids)


def by_rank(graph: Graph, blocks: ItemBlocks) -> Columns:
    """Columns in order of popularity; a permutation and its inverse are stored."""
    n_items = blocks.num_embeddings
    id_of_rank = graph.stored(as_array(blocks.id_of_rank.int()), "id_of_rank")

    def to_ids(inner: Graph, columns: str) -> str:
        return inner.cast(inner.op("Gather", id_of_rank, columns, axis=0), INT64)

    rank_of_id = graph.stored(as_array(blocks.rank_of_id.clamp(min=0)), "rank_of_id")

    def of_ids(inner: Graph, ids: str) -> str:
        return inner.cast(inner.op("Gather", rank_of_id, ids, axis=0), INT64)

    return Columns(n_items, n_items - 1, to_ids, of_ids)
