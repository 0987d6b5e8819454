"""Which item a column of a score matrix belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from recbole_compress.embeddings import ItemBlocks
from recbole_compress.embeddings.item_blocks import MOST_BLOCKS
from recbole_compress.errors import ExportError
from recbole_compress.export.graph import INT32, INT64, Graph
from recbole_compress.export.storage import as_array
from recbole_compress.export.stored_codes import stored_codes

__all__ = ["Columns", "by_block", "by_id", "one_behind", "rows_by_id", "scattered"]


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


def by_block(graph: Graph, blocks: ItemBlocks) -> Columns:
    """Columns by item block, in each by id: the file tells the block of an item, a few bits.

    The rows of blockwise tables have to be brought into that order, :func:`rows_by_id`. Orders of
    items are made of the blocks when the file is loaded.
    """
    n_items, n_blocks = blocks.num_embeddings, len(blocks.sizes)
    if n_blocks > MOST_BLOCKS:
        raise ExportError(
            f"{n_blocks} item blocks: a file can hold {MOST_BLOCKS}; train with fewer"
        )
    block_of_item = as_array(blocks.blocks_of_ids()[1:])[None]
    bits = max(1, (n_blocks - 1).bit_length())
    block = graph.cast(stored_codes(graph, block_of_item, bits, 8), INT32)
    block = graph.reshape(block, -1)
    column_of_item = ""
    for k, start in enumerate(blocks.starts):  # counted, as operators that search are not folded
        here = graph.cast(graph.op("Equal", block, graph.constant(k, np.int32)), INT32)
        place = graph.op("CumSum", here, graph.constant(0, np.int32))
        place = graph.op("Add", place, graph.constant(start - 1, np.int32))
        column = graph.op("Mul", place, here)
        column_of_item = graph.op("Add", column_of_item, column) if k else column
    items = graph.op("Range", *(graph.constant(n, np.int32) for n in (0, n_items - 1, 1)))
    item_of_column = graph.op("ScatterElements", items, column_of_item, items, axis=0)

    def to_ids(inner: Graph, columns: str) -> str:
        item = inner.cast(inner.op("Gather", item_of_column, columns, axis=0), INT64)
        return inner.op("Add", item, inner.constant(1, np.int64))

    def of_ids(inner: Graph, ids: str) -> str:
        item = inner.clip(inner.op("Sub", ids, inner.constant(1, np.int64)), 0, n_items - 2)
        return inner.cast(inner.op("Gather", column_of_item, item, axis=0), INT64)

    return Columns(n_items, n_items - 1, to_ids, of_ids)


def rows_by_id(blocks: ItemBlocks) -> list[np.ndarray]:
    """Which of its rows, in order of popularity, each item block is to be stored as."""
    return [as_array(rows) for rows in blocks.rows_by_id()]
