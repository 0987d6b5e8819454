"""Item ids -> vectors, in a graph: one class per kind of item embedding.

A new kind of embedding is one class here and one line in :func:`stored_items`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import NamedTuple

import numpy as np
from onnx import TensorProto
from torch import Tensor, nn

from recbole_compress.embeddings import (
    BlockwiseEmbedding,
    DenseEmbedding,
    ItemEmbedding,
    LowRankEmbedding,
    ProductQuantizedEmbedding,
    TensorTrainEmbedding,
)
from recbole_compress.errors import ExportError
from recbole_compress.export.columns import (
    Columns,
    by_block,
    by_id,
    one_behind,
    rows_by_id,
    scattered,
)
from recbole_compress.export.graph import FLOAT, INT32, INT64, MICROSOFT, Graph
from recbole_compress.export.storage import (
    Integers,
    Matrix,
    as_array,
    codes_of,
    stored_matrix,
    unpacked,
)

__all__ = ["Store", "StoredItems", "stored_items"]

# Where sums are shorter, integers save little and the rounding of activations does not average out.
_LONG_SUM = 64
_INT8 = TensorProto.INT8


class Store:
    """What lies in the file already: every parameter once, whoever reads it.

    Args:
        graph: Where the parameters go.
        integers: Those to be stored as integers.
        half: Store all other matrices in half precision.
    """

    def __init__(self, graph: Graph, integers: Mapping[Tensor, Integers], half: bool = False):
        self.graph = graph
        self.integers = integers
        self.half = half
        self._matrices: dict[int, Matrix] = {}
        self._values: dict[tuple[int, tuple[int, ...]], str] = {}
        self._codes: dict[int, str] = {}

    def matrix(self, parameter: Tensor, order: np.ndarray | None = None) -> Matrix:
        """A matrix to be looked up in or multiplied with, ``(rows, columns)``.

        Args:
            parameter: The same one is stored once.
            order: Which of its rows the matrix is to have; all as they are if None.
        """
        if id(parameter) not in self._matrices:
            numbers = self._numbers(parameter)
            content = self.integers.get(parameter)
            if order is not None:
                numbers = numbers[order]
                content = None if content is None else content.take_rows(order)
            self._matrices[id(parameter)] = stored_matrix(self.graph, numbers, content)
        return self._matrices[id(parameter)]

    def value(self, parameter: Tensor, *shape: int) -> str:
        """A small parameter as a value of this shape; float32."""
        key = (id(parameter), shape)
        if key not in self._values:
            content = self.integers.get(parameter)
            if content is not None:
                value = unpacked(self.graph, content, self.codes(parameter))
            else:
                numbers = self._numbers(parameter)
                value = self.graph.stored(numbers, "weight")
                value = self.graph.cast(value, FLOAT) if self.half else value
            self._values[key] = self.graph.reshape(value, *(shape or parameter.shape))
        return self._values[key]

    def codes(self, parameter: Tensor) -> str:
        """The integers of a small parameter as a value, ``(rows, columns)``."""
        if id(parameter) not in self._codes:
            self._codes[id(parameter)] = codes_of(self.graph, self.integers[parameter])
        return self._codes[id(parameter)]

    def _numbers(self, parameter: Tensor) -> np.ndarray:
        return as_array(parameter.half() if self.half else parameter)


class StoredItems:
    """An item table in a file: looking up in it, and scoring with it.

    Attributes:
        columns: Which item each column of :meth:`scores` belongs to.
    """

    columns: Columns

    def rows(self, graph: Graph, ids: str) -> str:
        """Vectors of int64 ``ids``; zeros for padding."""
        raise NotImplementedError

    def scores(self, graph: Graph, hidden: str) -> str:
        """Products with all items, ``(B, columns)``; what padding gets means nothing."""
        raise NotImplementedError


def _place(graph: Graph, ids: str, columns: Columns) -> tuple[str, str]:
    """Row of an id in a table without padding, and where there is an item, one axis more."""
    there = graph.op("Greater", ids, graph.constant(0, np.int64))
    there = graph.op("Unsqueeze", there, graph.integers(-1))
    return columns.of_ids(graph, ids), there


def _or_zero(graph: Graph, there: str, rows: str) -> str:
    return graph.op("Where", there, rows, graph.constant(0.0, np.float32))


class DenseItems(StoredItems):
    """One row per id. A table may have more rows than items, after them (a mask token's).

    Args:
        bias: Added to the products, ``(n_items,)``.
        scale: What the products are multiplied with, ``(n_items,)``; not where there is a bias.
    """

    def __init__(
        self,
        store: Store,
        weight: Tensor,
        n_items: int,
        bias: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> None:
        self.matrix = store.matrix(weight)
        self.columns = by_id(n_items)
        self.surplus = len(weight) - n_items
        self.bias = ""
        if bias is not None:
            padded = nn.functional.pad(bias.detach(), (0, self.surplus))
            self.bias = store.graph.stored(as_array(padded), "bias")
        self.scale = "" if scale is None else store.graph.stored(as_array(scale), "scale")

    def rows(self, graph: Graph, ids: str) -> str:
        return self.matrix.rows(graph, ids)

    def scores(self, graph: Graph, hidden: str) -> str:
        scores = self.matrix.product(graph, hidden, self.bias)
        scores = graph.slice(scores, 0, self.columns.n_items, 1) if self.surplus else scores
        return graph.op("Mul", scores, self.scale) if self.scale else scores


class LowRankItems(StoredItems):
    """Narrow rows behind a projection."""

    def __init__(
        self, store: Store, table: Tensor, projection: Tensor, bias: Tensor | None = None
    ) -> None:
        self.matrix = store.matrix(table)
        self.projection = store.value(projection)
        self.columns = one_behind(len(table) + 1)
        self.bias = "" if bias is None else store.graph.stored(as_array(bias), "bias")

    def rows(self, graph: Graph, ids: str) -> str:
        row, there = _place(graph, ids, self.columns)
        narrow = _or_zero(graph, there, self.matrix.rows(graph, row))
        return graph.op("MatMul", narrow, self.projection)

    def scores(self, graph: Graph, hidden: str) -> str:
        narrow = graph.op("Gemm", hidden, self.projection, transB=1)
        return self.matrix.product(graph, narrow, self.bias)


class BlockwiseItems(StoredItems):
    """Item blocks of falling width, the most popular items first."""

    def __init__(self, store: Store, embedding: BlockwiseEmbedding) -> None:
        self.blocks = embedding.item_blocks
        self.columns = by_block(store.graph, self.blocks)
        orders = rows_by_id(self.blocks)
        self.matrices = [
            store.matrix(table, order)
            for table, order in zip(embedding.tables, orders, strict=True)
        ]
        self.projections = {
            int(k): store.value(projection) for k, projection in embedding.projections.items()
        }

    def rows(self, graph: Graph, ids: str) -> str:
        column, item = _place(graph, ids, self.columns)
        total = ""
        for k, (matrix, start) in enumerate(zip(self.matrices, self.blocks.starts, strict=True)):
            offset = graph.op("Sub", column, graph.constant(start, np.int64))
            row = graph.clip(offset, 0, matrix.n_rows - 1)
            there = graph.op("Unsqueeze", graph.op("Equal", row, offset), graph.integers(-1))
            rows = _or_zero(graph, there, matrix.rows(graph, row))
            if k in self.projections:
                rows = graph.op("MatMul", rows, self.projections[k])
            total = graph.op("Add", total, rows) if total else rows
        return _or_zero(graph, item, total)

    def scores(self, graph: Graph, hidden: str) -> str:
        by_block = []
        for k, matrix in enumerate(self.matrices):
            narrow = hidden
            if k in self.projections:
                narrow = graph.op("Gemm", hidden, self.projections[k], transB=1)
            by_block.append(matrix.product(graph, narrow))
        return graph.op("Concat", *by_block, axis=1)


class TensorTrainItems(StoredItems):
    """Cores, read slice by slice and scored with core by core: the table is never built."""

    def __init__(self, store: Store, embedding: TensorTrainEmbedding) -> None:
        self.shapes = [tuple(core.shape) for core in embedding.cores]
        self.cores = [store.value(core, *core.shape) for core in embedding.cores]
        self.columns = scattered(embedding.num_embeddings, embedding.factor)
        self.last = IntegerCore.of(store, embedding.cores[-1])

    def rows(self, graph: Graph, ids: str) -> str:
        row, there = _place(graph, ids, self.columns)
        flat = graph.reshape(row, -1)
        indices: list[str] = []
        for _, _, size, _ in reversed(self.shapes):
            n = graph.constant(size, np.int64)
            indices.insert(0, graph.op("Mod", flat, n))
            flat = graph.op("Div", flat, n)
        product = ""
        for core, index, (r, j, _, r_next) in zip(self.cores, indices, self.shapes, strict=True):
            slices = graph.op("Gather", core, index, axis=2)  # (R, J, n, R')
            slices = graph.op("Transpose", slices, perm=[2, 0, 1, 3])
            slices = graph.reshape(slices, -1, r, j * r_next)
            if product:
                slices = graph.op("MatMul", product, slices)
            product = graph.reshape(slices, 0, -1, r_next)  # (n, columns so far, R')
        dim = int(np.prod([j for _, j, _, _ in self.shapes]))
        shape = graph.op("Concat", graph.op("Shape", ids), graph.integers(dim), axis=0)
        return _or_zero(graph, there, graph.op("Reshape", product, shape))

    def scores(self, graph: Graph, hidden: str) -> str:
        # Each core replaces a column index by a row index, as in functional.tensor_train. From the
        # left: what comes out lies as the next product reads it. The last one from the right.
        *first, (last, (rank, width, size, _)) = zip(self.cores, self.shapes, strict=True)
        to_come = int(np.prod([j for _, j, _, _ in self.shapes]))
        x = hidden
        for core, (r, j, i, r_next) in first:
            to_come //= j
            matrix = graph.op("Transpose", graph.reshape(core, r * j, i * r_next), perm=[1, 0])
            x = graph.op("MatMul", matrix, graph.reshape(x, -1, r * j, to_come))
        x = graph.reshape(x, -1, rank * width)
        if self.last:
            x = self.last.product(graph, x, size)
        else:
            x = graph.op("MatMul", x, graph.reshape(last, rank * width, size))
        n_rows = int(np.prod([i for _, _, i, _ in self.shapes]))
        return graph.slice(graph.reshape(x, -1, n_rows), 0, self.columns.n_items - 1, 1)


class IntegerCore(NamedTuple):
    """The last core of a train as integers, for a product with activations of 8 bits.

    Attributes:
        codes: uint8 ``(R, J * I)``.
        zero_point: Of all of them.
        bits: 1 .. 8.
        scales: float32 ``(R * J,)``; the activations take them along.
    """

    codes: str
    zero_point: int
    bits: int
    scales: str

    @classmethod
    def of(cls, store: Store, core: Tensor) -> IntegerCore | None:
        """None for small cores, floating ones, and those with other scales than of their sums."""
        content = store.integers.get(core)
        n_sums = core.shape[0] * core.shape[1]
        if content is None or n_sums < _LONG_SUM:
            return None
        if content.scales.shape[1] > 1 or n_sums % len(content.scales):
            return None
        points = [2 ** (content.bits - 1)]
        if content.zero_points is not None:
            points = np.unique(content.zero_points).tolist()
        if len(points) > 1:
            return None
        own = store.graph.stored(content.scales.astype(np.float32), "scales")
        shape = store.graph.integers(len(content.scales), n_sums // len(content.scales))
        scales = store.graph.reshape(store.graph.op("Expand", own, shape), -1)
        return cls(store.codes(core), points[0], content.bits, scales)

    def product(self, graph: Graph, x: str, size: int) -> str:
        """``(rows, R * J) -> (rows, I)``; activations are rounded for all rows together."""
        codes, points = self.codes, [graph.constant(self.zero_point, np.uint8)]
        if self.bits < 8:
            # Signed bytes are faster; with 8 bits, processors without VNNI would saturate.
            codes = graph.op(
                "Sub", graph.cast(codes, INT32), graph.constant(self.zero_point, np.int32)
            )
            codes, points = graph.cast(codes, _INT8), []
        matrix = graph.reshape(codes, -1, size)
        x = graph.op("Mul", x, self.scales)
        one = graph.constant(1.0, np.float32)
        return graph.op("DynamicQuantizeMatMul", x, matrix, one, *points, domain=MICROSOFT)


class CodedItems(StoredItems):
    """Product codes: a few bytes per item that choose among shared sub-vectors."""

    def __init__(self, store: Store, codes: Tensor, centroids: Tensor, shared: str = "") -> None:
        self.m, self.n_codes, self.width = centroids.shape
        self.codes = shared or store.graph.stored(as_array(codes), "codes")
        self.centroids = store.value(centroids, *centroids.shape)
        self.columns = one_behind(codes.shape[1] + 1)

    def rows(self, graph: Graph, ids: str) -> str:
        row, there = _place(graph, ids, self.columns)
        codes = graph.cast(graph.op("Gather", self.codes, row, axis=1), INT64)
        parts = []
        for split in range(self.m):
            code = graph.op("Gather", codes, graph.constant(split, np.int64), axis=0)
            table = graph.op("Gather", self.centroids, graph.constant(split, np.int64), axis=0)
            parts.append(graph.op("Gather", table, code, axis=0))
        return _or_zero(graph, there, graph.op("Concat", *parts, axis=-1))

    def scores(self, graph: Graph, hidden: str) -> str:
        total = ""
        codes = graph.cast(self.codes, INT32)  # Gather reads no bytes
        for split in range(self.m):
            part = graph.slice(hidden, split * self.width, (split + 1) * self.width, 1)
            table = graph.op("Gather", self.centroids, graph.constant(split, np.int64), axis=0)
            products = graph.op("Gemm", part, table, transB=1)  # (B, n_codes)
            code = graph.op("Gather", codes, graph.constant(split, np.int64), axis=0)
            looked_up = graph.op("Gather", products, code, axis=1)
            total = graph.op("Add", total, looked_up) if total else looked_up
        return total


@singledispatch
def stored_items(embedding: ItemEmbedding, store: Store) -> StoredItems:
    """Put an item embedding into the file."""
    raise ExportError(
        f"{type(embedding).__name__}: no way to store this item embedding in a file is known"
    )


@stored_items.register
def _(embedding: DenseEmbedding, store: Store) -> StoredItems:
    return DenseItems(store, embedding.weight, embedding.num_embeddings)


@stored_items.register
def _(embedding: LowRankEmbedding, store: Store) -> StoredItems:
    return LowRankItems(store, embedding.table, embedding.projection)


@stored_items.register
def _(embedding: BlockwiseEmbedding, store: Store) -> StoredItems:
    return BlockwiseItems(store, embedding)


@stored_items.register
def _(embedding: TensorTrainEmbedding, store: Store) -> StoredItems:
    return TensorTrainItems(store, embedding)


@stored_items.register
def _(embedding: ProductQuantizedEmbedding, store: Store) -> StoredItems:
    return CodedItems(store, embedding.codes, embedding.centroids)
