"""Hidden states -> the best items, in a graph: one class per kind of item head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import singledispatch

import numpy as np
from torch import Tensor

from recbole_compress.embeddings import ItemBlocks
from recbole_compress.errors import ExportError
from recbole_compress.export.columns import Columns, by_block, rows_by_id
from recbole_compress.export.graph import FLOAT, INT64, Graph
from recbole_compress.export.lookup import (
    BlockwiseItems,
    CodedItems,
    DenseItems,
    LowRankItems,
    Store,
    StoredItems,
)
from recbole_compress.functional.left_out import NOT_AMONG
from recbole_compress.heads import (
    ItemHead,
    LowRankHead,
    PointerHead,
    TiedCodesHead,
    TiedHead,
    TiedTwoLevelHead,
    TwoLevelHead,
    UntiedHead,
)
from recbole_compress.heads.pointer import CERTAIN

__all__ = ["Scorer", "stored_scorer"]


class Scorer:
    """Scores by products with a stored table.

    Args:
        items: The table.
    """

    def __init__(self, items: StoredItems) -> None:
        self.items = items
        self.columns = items.columns

    def scores(self, graph: Graph, hidden: str) -> str:
        """``(B, columns)``, all of them."""
        return self.items.scores(graph, hidden)

    def log_probs(self, graph: Graph, hidden: str, excluded: str) -> str:
        """Log-probabilities among other columns than ``excluded``, ``(B, columns)``.

        Args:
            excluded: Columns, int64 ``(B, E)``; ``n_columns`` for none.
        """
        n = self.columns.n_columns
        if n == self.columns.n_items:  # padding, in column 0, is no item either
            ends = graph.integers(0, 1, 0, 0)
            excluded = graph.op("Pad", excluded, ends, graph.constant(0, np.int64))
        logits = _excluded(graph, self.scores(graph, hidden), excluded, n)
        return graph.op("LogSoftmax", logits, axis=1)

    def topk(
        self, graph: Graph, hidden: str, k: str, unless: str
    ) -> Callable[[Graph], tuple[str, str]]:
        """The best items: what a branch of ``graph`` that wants them is to hold.

        Args:
            k: int64 ``(1,)``.
            unless: bool, a scalar; no branch wants them where it is true.

        Returns:
            From that branch to scores and item ids, padding possibly among them.
        """

        def found(inner: Graph) -> tuple[str, str]:
            n = inner.op("Min", k, inner.integers(self.columns.n_columns))
            values, columns = inner.topk(self.scores(inner, hidden), n)
            return values, self.columns.to_ids(inner, columns)

        return found

    def of_candidates(self, graph: Graph, hidden: str, ids: str) -> str:
        """Scores of ids ``(B, C)`` alone, ``(B, C)``."""
        rows = self.items.rows(graph, ids)
        column = graph.op("Unsqueeze", hidden, graph.integers(2))
        return graph.op("Squeeze", graph.op("MatMul", rows, column), graph.integers(2))


class WholeScorer(Scorer):
    """Candidates are taken out of the scores of all: with a bias, none is made alone."""

    def of_candidates(self, graph: Graph, hidden: str, ids: str) -> str:
        columns = self.columns.of_ids(graph, ids)
        return graph.op("GatherElements", self.scores(graph, hidden), columns, axis=1)


class TwoLevelScorer(WholeScorer):
    """Popular items and one token per tail first; a tail only where it can still contribute.

    Exactly the top-k of the full softmax: no item of a tail is more probable than its token.

    Args:
        store: Where the numbers go.
        columns: By item block.
        blocks: The item blocks; rows of the matrices are in order of popularity.
        head: Matrix whose products are the first level: items, then tokens if they are not apart.
        tokens: Matrix of the tokens.
        tails: Projection and matrix of each.
        projection: Into the width of ``head``.
    """

    def __init__(
        self,
        store: Store,
        columns: Columns,
        blocks: ItemBlocks,
        head: Tensor,
        tokens: Tensor | None,
        tails: Sequence[tuple[Tensor, Tensor]],
        projection: Tensor | None = None,
    ) -> None:
        self.columns = columns
        popular, *rare = rows_by_id(blocks)
        self.n_head = len(popular)
        popular = np.concatenate([popular, np.arange(self.n_head, len(head))])  # tokens stay last
        self.head = store.matrix(head, popular)
        self.tokens = None if tokens is None else store.value(tokens)
        self.projection = None if projection is None else store.value(projection)
        self.tails = [
            (store.value(narrow), store.matrix(table, order))
            for (narrow, table), order in zip(tails, rare, strict=True)
        ]

    def _first_level(
        self, graph: Graph, hidden: str, excluded: str | None = None
    ) -> tuple[str, str]:
        """Log-probabilities of popular items, and of the tokens."""
        narrow = hidden
        if self.projection is not None:
            narrow = graph.op("Gemm", hidden, self.projection, transB=1)
        logits = self.head.product(graph, narrow)
        if self.tokens is not None:
            own = graph.op("Gemm", hidden, self.tokens, transB=1)
            logits = graph.op("Concat", logits, own, axis=1)
        n = self.n_head
        end = n + len(self.tails)
        if excluded is not None:
            logits = _excluded(graph, logits, self._out_of_first_level(graph, excluded), end)
        log_probs = graph.op("LogSoftmax", logits, axis=1)
        return graph.slice(log_probs, 0, n, 1), graph.slice(log_probs, n, end, 1)

    def _out_of_first_level(self, graph: Graph, excluded: str) -> str:
        """Which of its columns go without these, as ``functional.two_level`` says."""
        end = graph.constant(self.n_head + len(self.tails), np.int64)
        # Tokens stand where the columns of tails begin.
        rare = graph.op("GreaterOrEqual", excluded, graph.constant(self.n_head, np.int64))
        columns = [graph.op("Where", rare, end, excluded)]
        start = self.n_head
        for i, (_, matrix) in enumerate(self.tails):
            row = graph.op("Sub", excluded, graph.constant(start, np.int64))
            inside = graph.op("Equal", row, graph.clip(row, 0, matrix.n_rows - 1))
            found = graph.op("ReduceSum", graph.cast(inside, INT64), graph.integers(1))
            gone = graph.op("Equal", found, graph.constant(matrix.n_rows, np.int64))
            token = graph.constant(self.n_head + i, np.int64)
            columns.append(graph.op("Where", gone, token, end))
            start += matrix.n_rows
        return graph.op("Concat", *columns, axis=1)

    def _tail(self, graph: Graph, hidden: str, i: int, excluded: str | None = None) -> str:
        """Log-probabilities of a tail's items if it is one of them."""
        projection, matrix = self.tails[i]
        logits = matrix.product(graph, graph.op("Gemm", hidden, projection, transB=1))
        if excluded is not None:
            logits = _excluded(graph, logits, excluded, matrix.n_rows)
        # Vectorized, as ONNX Runtime's ReduceLogSumExp is not (ten times slower, 45,000 items).
        return graph.op("LogSoftmax", logits, axis=1)

    def scores(self, graph: Graph, hidden: str, excluded: str | None = None) -> str:
        popular, tokens = self._first_level(graph, hidden, excluded)
        pieces, of_tail = [popular], None
        start = self.n_head
        for i, (_, matrix) in enumerate(self.tails):
            token = graph.slice(tokens, i, i + 1, 1)
            if excluded is not None:
                of_tail = graph.op("Sub", excluded, graph.constant(start, np.int64))
            pieces.append(graph.op("Add", self._tail(graph, hidden, i, of_tail), token))
            start += matrix.n_rows
        return graph.op("Concat", *pieces, axis=1)

    def log_probs(self, graph: Graph, hidden: str, excluded: str) -> str:
        return self.scores(graph, hidden, excluded)

    def topk(
        self, graph: Graph, hidden: str, k: str, unless: str
    ) -> Callable[[Graph], tuple[str, str]]:
        # Outside: ONNX Runtime readies integers for products in a branch, not in a branch of one.
        found = self._topk(graph, hidden, k, graph.op("Not", unless))
        return lambda inner: found

    def _topk(self, graph: Graph, hidden: str, k: str, wanted: str) -> tuple[str, str]:
        k = graph.op("Min", k, graph.integers(self.columns.n_columns))
        popular, tokens = self._first_level(graph, hidden)
        found = graph.op("Min", k, graph.integers(self.n_head))
        values, columns = graph.topk(popular, found)
        # Places not filled yet hold -inf, so every tail is opened until k items are found.
        missing = graph.op("Sub", k, found)
        pads = graph.op("Concat", graph.integers(0, 0, 0), missing, axis=0)
        values = graph.op("Pad", values, pads, graph.constant(-np.inf, np.float32))
        columns = graph.op("Pad", columns, pads, graph.constant(0, np.int64))
        start = self.n_head
        for i, (_, matrix) in enumerate(self.tails):
            values, columns = self._with_tail(
                graph, hidden, tokens, i, k, values, columns, start, wanted
            )
            start += matrix.n_rows
        return values, self.columns.to_ids(graph, columns)

    def _with_tail(
        self,
        graph: Graph,
        hidden: str,
        tokens: str,
        i: int,
        k: str,
        values: str,
        columns: str,
        start: int,
        wanted: str,
    ) -> tuple[str, str]:
        token = graph.slice(tokens, i, i + 1, 1)
        last = graph.op("ReduceMin", values, graph.integers(1), keepdims=1)
        may_enter = graph.cast(graph.op("GreaterOrEqual", token, last), INT64)
        opened = graph.op("ReduceMax", may_enter, keepdims=0)
        contributes = graph.op("Greater", opened, graph.constant(0, np.int64))
        condition = graph.op("And", contributes, wanted)

        def open_it(inner: Graph) -> tuple[str, str]:
            here = inner.op("Min", k, inner.integers(self.tails[i][1].n_rows))
            best, row = inner.topk(self._tail(inner, hidden, i), here)
            best = inner.op("Add", best, token)
            row = inner.op("Add", row, inner.constant(start, np.int64))
            all_values = inner.op("Concat", values, best, axis=1)
            all_columns = inner.op("Concat", columns, row, axis=1)
            kept, place = inner.topk(all_values, k)
            return kept, inner.op("GatherElements", all_columns, place, axis=1)

        kept, place = graph.branch(
            condition, open_it, lambda inner: (values, columns), (FLOAT, INT64)
        )
        return kept, place


class PointerScorer(WholeScorer):
    """The items of the sequence by what a state says of them, all others by another scorer.

    Args:
        new_items: Scores of vectors alone.
        dim: Their width: what stands behind them in a state are the pointers.
        n_items: How many items there are.
    """

    def __init__(self, new_items: Scorer, dim: int, n_items: int) -> None:
        self.n_items = n_items
        self.new_items = new_items
        self.columns = new_items.columns
        self.dim = dim

    def scores(self, graph: Graph, hidden: str) -> str:
        behind = graph.op("Sub", graph.size(hidden, 1), graph.integers(self.dim + 1))
        length = graph.op("Div", behind, graph.integers(2))
        sizes = graph.op("Concat", graph.integers(self.dim, 1), length, length, axis=0)
        vectors, gate, log_shares, items = graph.ops("Split", hidden, sizes, n_outputs=4, axis=1)
        ids = graph.cast(items, INT64)
        gate = self._gate(graph, gate, ids)
        columns = self._columns(graph, ids)
        log_probs = self.new_items.log_probs(graph, vectors, columns)
        of_new = graph.op("Sub", log_probs, graph.op("Softplus", gate))
        pointed = graph.op("Sub", log_shares, graph.op("Softplus", graph.op("Neg", gate)))
        return _written(graph, of_new, columns, pointed, self.columns.n_columns)

    def _gate(self, graph: Graph, gate: str, items: str) -> str:
        """Certain where the sequence holds every item there is."""
        there = graph.cast(graph.op("Greater", items, graph.constant(0, np.int64)), INT64)
        held = graph.op("ReduceSum", there, graph.integers(1), keepdims=1)
        all_of_them = graph.op("Equal", held, graph.constant(self.n_items, np.int64))
        return graph.op("Where", all_of_them, graph.constant(CERTAIN, np.float32), gate)

    def _columns(self, graph: Graph, items: str) -> str:
        """Of every item of the sequence; behind the last one where there is none."""
        nothing = graph.op("Equal", items, graph.constant(0, np.int64))
        behind = graph.constant(self.columns.n_columns, np.int64)
        return graph.op("Where", nothing, behind, self.columns.of_ids(graph, items))


def _written(graph: Graph, values: str, columns: str, entries: str, n_columns: int) -> str:
    """``values`` ``(B, n_columns)`` with other entries in some columns; outside, there are none."""
    # A column behind the last takes what has no place, and is cut off again.
    wider = graph.op("Pad", values, graph.integers(0, 0, 0, 1))
    inside = graph.clip(columns, -1, n_columns)
    outside = graph.op("Less", inside, graph.constant(0, np.int64))
    inside = graph.op("Where", outside, graph.constant(n_columns, np.int64), inside)
    wider = graph.op("ScatterElements", wider, inside, entries, axis=1)
    return graph.slice(wider, 0, n_columns, 1)


def _excluded(graph: Graph, logits: str, columns: str, n_columns: int) -> str:
    """Logits that are low in some columns."""
    low = graph.op("Expand", graph.constant(NOT_AMONG, np.float32), graph.op("Shape", columns))
    return _written(graph, logits, columns, low, n_columns)


@singledispatch
def stored_scorer(head: ItemHead, store: Store, items: StoredItems) -> Scorer:
    """Put an item head into the file; ``items`` is the input side, which it may share."""
    raise ExportError(f"{type(head).__name__}: no way to store this item head in a file is known")


@stored_scorer.register
def _(head: TiedHead, store: Store, items: StoredItems) -> Scorer:
    return Scorer(items)


@stored_scorer.register
def _(head: UntiedHead, store: Store, items: StoredItems) -> Scorer:
    kind = Scorer if head.bias is None else WholeScorer
    return kind(DenseItems(store, head.weight, head.num_embeddings, head.bias))


@stored_scorer.register
def _(head: LowRankHead, store: Store, items: StoredItems) -> Scorer:
    kind = Scorer if head.bias is None else WholeScorer
    return kind(LowRankItems(store, head.weight, head.projection, head.bias))


@stored_scorer.register
def _(head: TiedCodesHead, store: Store, items: StoredItems) -> Scorer:
    assert isinstance(items, CodedItems)
    return Scorer(CodedItems(store, head.codes, head.centroids, shared=items.codes))


@stored_scorer.register
def _(head: TwoLevelHead, store: Store, items: StoredItems) -> Scorer:
    columns = items.columns
    if not isinstance(items, BlockwiseItems):
        columns = by_block(store.graph, head.item_blocks)
    tails = list(zip(head.tail_projections, head.tail_weights, strict=True))
    return TwoLevelScorer(store, columns, head.item_blocks, head.weight, None, tails)


@stored_scorer.register
def _(head: TiedTwoLevelHead, store: Store, items: StoredItems) -> Scorer:
    embedding = head.embedding
    popular, *rare = embedding.tables
    return TwoLevelScorer(
        store,
        items.columns,
        head.item_blocks,
        popular,
        head.tokens,
        list(zip(head.tail_projections, rare, strict=True)),
        embedding.projections.get("0"),
    )


@stored_scorer.register
def _(head: PointerHead, store: Store, items: StoredItems) -> Scorer:
    new_items = stored_scorer(head.new_items, store, items)
    return PointerScorer(new_items, head.embedding_dim, head.num_embeddings - 1)
