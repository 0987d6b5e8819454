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


class BiasedScorer(Scorer):
    """A bias per item comes with the products: candidates take theirs from there."""

    def of_candidates(self, graph: Graph, hidden: str, ids: str) -> str:
        columns = self.columns.of_ids(graph, ids)
        return graph.op("GatherElements", self.scores(graph, hidden), columns, axis=1)


class TwoLevelScorer(Scorer):
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

    def _first_level(self, graph: Graph, hidden: str) -> tuple[str, str]:
        """Log-probabilities of popular items, and of the tokens."""
        narrow = hidden
        if self.projection is not None:
            narrow = graph.op("Gemm", hidden, self.projection, transB=1)
        logits = self.head.product(graph, narrow)
        if self.tokens is not None:
            own = graph.op("Gemm", hidden, self.tokens, transB=1)
            logits = graph.op("Concat", logits, own, axis=1)
        log_probs = graph.op("LogSoftmax", logits, axis=1)
        n = self.n_head
        end = n + len(self.tails)
        return graph.slice(log_probs, 0, n, 1), graph.slice(log_probs, n, end, 1)

    def _tail(self, graph: Graph, hidden: str, i: int) -> str:
        """Log-probabilities of a tail's items if it is one of them."""
        projection, matrix = self.tails[i]
        logits = matrix.product(graph, graph.op("Gemm", hidden, projection, transB=1))
        # Vectorized, as ONNX Runtime's ReduceLogSumExp is not (ten times slower, 45,000 items).
        return graph.op("LogSoftmax", logits, axis=1)

    def scores(self, graph: Graph, hidden: str) -> str:
        popular, tokens = self._first_level(graph, hidden)
        pieces = [popular]
        for i in range(len(self.tails)):
            token = graph.slice(tokens, i, i + 1, 1)
            pieces.append(graph.op("Add", self._tail(graph, hidden, i), token))
        return graph.op("Concat", *pieces, axis=1)

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

    def of_candidates(self, graph: Graph, hidden: str, ids: str) -> str:
        columns = self.columns.of_ids(graph, ids)
        return graph.op("GatherElements", self.scores(graph, hidden), columns, axis=1)


class LogProbScorer(Scorer):
    """Logarithms of the probabilities that another scorer's scores are logits of.

    Args:
        logits: That one.
    """

    def __init__(self, logits: Scorer) -> None:
        self.logits = logits
        self.columns = logits.columns

    def scores(self, graph: Graph, hidden: str) -> str:
        scores = self.logits.scores(graph, hidden)
        n = self.columns.n_columns
        if n < self.columns.n_items:
            return graph.op("LogSoftmax", scores, axis=1)
        # Column 0 is padding's, which has no part in the sum.
        items = graph.op("LogSoftmax", graph.slice(scores, 1, n, 1), axis=1)
        front = graph.integers(0, 1, 0, 0)
        return graph.op("Pad", items, front, graph.constant(-np.inf, np.float32))

    def of_candidates(self, graph: Graph, hidden: str, ids: str) -> str:
        columns = self.columns.of_ids(graph, ids)
        return graph.op("GatherElements", self.scores(graph, hidden), columns, axis=1)


class PointerScorer(Scorer):
    """The items of the sequence by what a state says of them, all others by another scorer.

    Args:
        new_items: Log-probabilities, from the vectors alone.
        dim: Their width: what stands behind them in a state are the pointers.
    """

    def __init__(self, new_items: Scorer, dim: int) -> None:
        self.new_items = new_items
        self.columns = new_items.columns
        self.dim = dim

    def _unpacked(self, graph: Graph, hidden: str) -> tuple[str, str, str, str]:
        """Vectors; what is added to scores of new items; scores of the sequence's; their ids."""
        behind = graph.op("Sub", graph.size(hidden, 1), graph.integers(self.dim + 1))
        length = graph.op("Div", behind, graph.integers(2))
        sizes = graph.op("Concat", graph.integers(self.dim, 1), length, length, axis=0)
        vectors, gate, log_shares, items = graph.ops("Split", hidden, sizes, n_outputs=4, axis=1)
        items = graph.cast(items, INT64)
        new = graph.op("Neg", graph.op("Softplus", gate))
        repeated = graph.op("Neg", graph.op("Softplus", graph.op("Neg", gate)))
        pointed = graph.op("Add", log_shares, repeated)
        nothing = graph.op("Equal", items, graph.constant(0, np.int64))
        return vectors, new, graph.masked(pointed, nothing, -np.inf), items

    def scores(self, graph: Graph, hidden: str) -> str:
        vectors, new, pointed, items = self._unpacked(graph, hidden)
        scores = graph.op("Add", self.new_items.scores(graph, vectors), new)
        # Places without an item write behind the last column, which is cut off again.
        n = self.columns.n_columns
        scores = graph.op("Pad", scores, graph.integers(0, 0, 0, 1))
        nothing = graph.op("Equal", items, graph.constant(0, np.int64))
        column = self.columns.of_ids(graph, items)
        column = graph.op("Where", nothing, graph.constant(n, np.int64), column)
        scores = graph.op("ScatterElements", scores, column, pointed, axis=1)
        return graph.slice(scores, 0, n, 1)

    def topk(
        self, graph: Graph, hidden: str, k: str, unless: str
    ) -> Callable[[Graph], tuple[str, str]]:
        vectors, new, pointed, items = self._unpacked(graph, hidden)
        # The best that are new are among so many of the best of all.
        room = graph.op("Add", k, graph.size(items, 1))
        of_new = self.new_items.topk(graph, vectors, room, unless)

        def found(inner: Graph) -> tuple[str, str]:
            values, ids = of_new(inner)
            here = inner.op("ReduceMax", _same(inner, ids, items), inner.integers(2), keepdims=0)
            known = inner.op("Greater", here, inner.constant(0, np.float32))
            values = inner.masked(inner.op("Add", values, new), known, -np.inf)
            values = inner.op("Concat", pointed, values, axis=1)
            ids = inner.op("Concat", items, ids, axis=1)
            best, place = inner.topk(values, inner.op("Min", k, inner.size(values, 1)))
            return best, inner.op("GatherElements", ids, place, axis=1)

        return found

    def of_candidates(self, graph: Graph, hidden: str, ids: str) -> str:
        vectors, new, pointed, items = self._unpacked(graph, hidden)
        of_new = graph.op("Add", self.new_items.of_candidates(graph, vectors, ids), new)
        same = _same(graph, ids, items)
        here = graph.op("ReduceMax", same, graph.integers(2), keepdims=0)
        # One place at most holds a candidate.
        finite = graph.op("Max", pointed, graph.constant(np.finfo(np.float32).min, np.float32))
        column = graph.op("Unsqueeze", finite, graph.integers(2))
        of_pointed = graph.op("Squeeze", graph.op("MatMul", same, column), graph.integers(2))
        known = graph.op("Greater", here, graph.constant(0, np.float32))
        return graph.op("Where", known, of_pointed, of_new)


def _same(graph: Graph, ids: str, items: str) -> str:
    """1 where an id of ``(B, C)`` is an item of ``(B, L)``, float ``(B, C, L)``; else 0."""
    ids = graph.op("Unsqueeze", ids, graph.integers(2))
    items = graph.op("Unsqueeze", items, graph.integers(1))
    return graph.cast(graph.op("Equal", ids, items), FLOAT)


@singledispatch
def stored_scorer(head: ItemHead, store: Store, items: StoredItems) -> Scorer:
    """Put an item head into the file; ``items`` is the input side, which it may share."""
    raise ExportError(f"{type(head).__name__}: no way to store this item head in a file is known")


@stored_scorer.register
def _(head: TiedHead, store: Store, items: StoredItems) -> Scorer:
    return Scorer(items)


@stored_scorer.register
def _(head: UntiedHead, store: Store, items: StoredItems) -> Scorer:
    kind = Scorer if head.bias is None else BiasedScorer
    return kind(DenseItems(store, head.weight, head.num_embeddings, head.bias))


@stored_scorer.register
def _(head: LowRankHead, store: Store, items: StoredItems) -> Scorer:
    kind = Scorer if head.bias is None else BiasedScorer
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
    if not head.new_items.gives_log_probs:
        new_items = LogProbScorer(new_items)
    return PointerScorer(new_items, head.embedding_dim)
