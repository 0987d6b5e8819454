"""The whole file as one graph: item sequence and length in, the best items and scores out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, helper, numpy_helper
from torch import Tensor

from recbole_compress.export.encoder import Traces, splice_encoder
from recbole_compress.export.graph import BOOL, FLOAT, INT64, Graph
from recbole_compress.export.lookup import Store
from recbole_compress.export.scoring import Scorer
from recbole_compress.export.source import Source
from recbole_compress.export.storage import Integers

__all__ = ["recommender_graph"]


def recommender_graph(
    source: Source,
    integers: Mapping[Tensor, Integers],
    k: int,
    half: bool = False,
    all_scores: bool = False,
    exclude_history: bool = False,
    traces: Traces | None = None,
) -> ModelProto:
    """Put a model into one ONNX graph.

    Inputs: ``item_seq`` int64 ``(B, L)``, right-padded with 0; ``length`` int64 ``(B,)``. Of a
    sequence longer than the model takes, the newest items are read; all of them are history. With
    defaults, so that they may be left out: ``k`` int64 ``(1,)``; ``exclude_history`` bool ``(1,)``;
    ``candidates`` int64 ``(B, C)``, the only items to rank, padded with 0; ``user`` int64 ``(1,)``
    or ``(B,)``, of models that ask for it.

    Outputs: ``items`` int64 ``(B, k)`` and ``scores`` float ``(B, k)``, best first, less than ``k``
    where there are not so many; an item that may not be ranked has the score ``-inf`` and stands
    last. With ``all_scores``, a third one: ``all_scores`` ``(B, n_items)``.

    Args:
        source: The model.
        integers: Parameters to store as integers.
        k: The default.
        half: Store item tables in half precision.
        all_scores: Add that output.
        exclude_history: The default.
        traces: Of this model with other integers, and where its own is kept.
    """
    graph = Graph()
    history, whole = _clean(graph)
    sequence, length = _newest(graph, source, history, whole)
    values = {"item_seq": sequence, "length": length}
    if source.user:
        # One user for all rows will do.
        zeros = graph.op("Mul", "length", graph.constant(0, np.int64))
        values["user"] = graph.op("Add", "user", zeros)
    store = Store(graph, integers, half)
    items, scorer = source.store(store)
    of_encoder = _by_name(source, integers)
    encoder = (traces or Traces()).of(*_call(source), of_encoder)
    hidden = splice_encoder(graph, encoder, values, items.rows, of_encoder)
    _rank(graph, scorer, hidden, history, all_scores, source.n_items)
    defaults = {
        "k": np.array([k], np.int64),
        "exclude_history": np.array([exclude_history]),
        "candidates": np.zeros((1, 0), np.int64),
    }
    return _model(graph, source, defaults, all_scores)


def _clean(graph: Graph) -> tuple[str, str]:
    """Sequences with nothing behind their end, and lengths no longer than there are columns."""
    columns = _up_to(graph, graph.size("item_seq", 1))
    end = graph.op("Unsqueeze", "length", graph.integers(1))
    inside = graph.op("Less", columns, end)
    sequence = graph.op("Where", inside, "item_seq", graph.constant(0, np.int64))
    return sequence, graph.op("Min", "length", graph.size("item_seq", 1))


def _newest(graph: Graph, source: Source, sequence: str, length: str) -> tuple[str, str]:
    """The items that the model reads and how many, with as much padding as it wants."""
    longest = graph.integers(source.max_length)
    skipped = graph.op("Max", graph.op("Sub", length, longest), graph.integers(0))
    width = graph.op("Min", graph.size(sequence, 1), longest)
    skipped = graph.op("Unsqueeze", skipped, graph.integers(1))
    place = graph.op("Add", _up_to(graph, width), skipped)
    sequence = graph.op("GatherElements", sequence, place, axis=1)
    if source.padded:
        pads = graph.op("Concat", graph.integers(0, 0, 0), graph.op("Sub", longest, width), axis=0)
        sequence = graph.op("Pad", sequence, pads, graph.constant(0, np.int64))
        sequence = graph.slice(sequence, 0, source.max_length, 1)
    return sequence, graph.op("Min", length, longest)


def _up_to(graph: Graph, end: str) -> str:
    """0, 1, .. below ``end`` ``(1,)``."""
    zero, one = graph.constant(0, np.int64), graph.constant(1, np.int64)
    return graph.op("Range", zero, graph.op("Squeeze", end), one)


def _call(source: Source) -> tuple[Any, dict[str, Tensor], dict[str, Any]]:
    """The encoder, an example to trace it with, and which of its axes have no fixed length."""
    batch, length = 3, source.max_length
    if not source.padded:
        length = min(7, length)
    generator = torch.Generator().manual_seed(0)
    example = {
        "item_seq": torch.randint(1, source.n_items, (batch, length), generator=generator),
        "length": torch.arange(batch) % length + 1,
    }
    rows = torch.export.Dim("batch")
    sequence = {0: rows}
    if not source.padded and source.max_length > 1:  # an axis of one place has a fixed length
        sequence[1] = torch.export.Dim("sequence", max=source.max_length)
    dynamic: dict[str, Any] = {"item_seq": sequence, "length": {0: rows}}
    if source.user:
        example["user"] = torch.zeros(batch, dtype=torch.long)
        dynamic["user"] = {0: rows}
    return source.encoder, example, dynamic


def _by_name(source: Source, integers: Mapping[Tensor, Integers]) -> dict[str, Integers]:
    named = source.encoder.named_parameters(remove_duplicate=False)
    return {name: integers[parameter] for name, parameter in named if parameter in integers}


def _rank(
    graph: Graph, scorer: Scorer, hidden: str, history: str, all_scores: bool, n_items: int
) -> None:
    """From hidden states to the outputs."""
    # Room for what is ranked but must not be shown: padding and the history.
    seen = graph.op("Mul", graph.size(history, 1), graph.cast("exclude_history", INT64))
    room = graph.op("Add", graph.op("Add", "k", seen), graph.integers(1))

    def of_candidates(inner: Graph) -> tuple[str, str]:
        # One row of candidates for all sequences will do.
        zeros = inner.op("Mul", "length", inner.constant(0, np.int64))
        ids = inner.op("Add", "candidates", inner.op("Unsqueeze", zeros, inner.integers(1)))
        return scorer.of_candidates(inner, hidden, ids), ids

    given = graph.op("Greater", graph.op("Size", "candidates"), graph.constant(0, np.int64))
    of_all = scorer.topk(graph, hidden, room, unless=given)
    values, ids = graph.branch(given, of_candidates, of_all, (FLOAT, INT64))

    values = graph.masked(values, _not_shown(graph, ids, history, n_items), -np.inf)
    shown = graph.op("Min", "k", graph.size(values, 1))
    best, place = graph.topk(values, shown)
    _output(graph, best, "scores")
    _output(graph, graph.op("GatherElements", ids, place, axis=1), "items")

    if all_scores:
        scores = scorer.scores(graph, hidden)
        ids = graph.constant(np.arange(n_items), np.int64)
        by_id = graph.op("Gather", scores, scorer.columns.of_ids(graph, ids), axis=1)
        padding = graph.op("Equal", ids, graph.constant(0, np.int64))
        _output(graph, graph.masked(by_id, padding, -np.inf), "all_scores")


def _not_shown(graph: Graph, ids: str, history: str, n_items: int) -> str:
    """Which of ``ids`` are padding, or of the row's history if that is to be left out."""
    padding = graph.op("Equal", ids, graph.constant(0, np.int64))

    def padding_and_history(inner: Graph) -> tuple[str]:
        # A mark per item of the catalogue: comparing every id with every item of a long history
        # would take their product.
        rows = inner.op("Concat", inner.size(history, 0), inner.integers(n_items), axis=0)
        nothing = inner.op("Expand", inner.constant(False), rows)
        marks = inner.op("Expand", inner.constant(True), inner.op("Shape", history))
        seen = inner.op("ScatterElements", nothing, history, marks, axis=1)
        return (inner.op("Or", padding, inner.op("GatherElements", seen, ids, axis=1)),)

    wanted = graph.op("Squeeze", "exclude_history")
    (found,) = graph.branch(wanted, padding_and_history, lambda inner: (padding,), (BOOL,))
    return found


def _output(graph: Graph, value: str, name: str) -> None:
    graph.nodes.append(helper.make_node("Identity", [value], [name]))


def _model(
    graph: Graph, source: Source, defaults: dict[str, np.ndarray], all_scores: bool
) -> ModelProto:
    def value(name: str, kind: int, *shape: str | int) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    inputs = [
        value("item_seq", INT64, "batch", "sequence"),
        value("length", INT64, "batch"),
        value("k", INT64, 1),
        value("exclude_history", BOOL, 1),
        value("candidates", INT64, "rows", "candidates_per_row"),
    ]
    if source.user:
        inputs.append(value("user", INT64, "users"))
        defaults["user"] = np.zeros(1, np.int64)
    for name, default in defaults.items():
        graph.initializers[name] = numpy_helper.from_array(default, name)
    outputs = [
        value("items", INT64, "batch", "found"),
        value("scores", FLOAT, "batch", "found"),
    ]
    if all_scores:
        outputs.append(value("all_scores", FLOAT, "batch", source.n_items))
    return graph.model(inputs, outputs)
