"""Putting an ONNX graph together, node by node."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

__all__ = ["BOOL", "FLOAT", "INT32", "INT64", "MICROSOFT", "OPSET", "Graph"]

OPSET = 21
MICROSOFT = "com.microsoft"
BOOL, FLOAT = TensorProto.BOOL, TensorProto.FLOAT
INT32, INT64 = TensorProto.INT32, TensorProto.INT64


class Graph:
    """A graph in the making. Values are their names; a method that makes one returns its name.

    Args:
        parent: The graph that this one is a branch of. Constants always go to the outermost one, so
            that branches share them and a file holds them once.

    Example:
        >>> graph = Graph()
        >>> total = graph.op("Add", "x", graph.constant(np.float32(1)))
        >>> [node.op_type for node in graph.nodes], len(graph.initializers)
        (['Add'], 1)
    """

    def __init__(self, parent: Graph | None = None) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = parent.initializers if parent else {}
        self._numbers: Iterator[int] = parent._numbers if parent else itertools.count()
        self._constants: dict[Any, str] = parent._constants if parent else {}

    def name(self, kind: str) -> str:
        return f"{kind}_{next(self._numbers)}"

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """One node with one output."""
        return self.ops(kind, *inputs, n_outputs=1, domain=domain, **attributes)[0]

    def ops(
        self, kind: str, *inputs: str, n_outputs: int, domain: str = "", **attributes: Any
    ) -> list[str]:
        """One node with several outputs."""
        outputs = [self.name(kind) for _ in range(n_outputs)]
        self.nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **attributes))
        return outputs

    def constant(self, value: Any, dtype: Any = None) -> str:
        """A small constant; equal ones are stored once."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.stored(array, "constant")
        return self._constants[key]

    def integers(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def stored(self, array: np.ndarray, kind: str) -> str:
        """An array in the file."""
        name = self.name(kind)
        self.initializers[name] = numpy_helper.from_array(array.copy(order="C"), name)
        return name

    # -- what is said often ---------------------------------------------------------------------

    def reshape(self, value: str, *shape: int) -> str:
        """0 keeps an axis, -1 takes what is left."""
        return self.op("Reshape", value, self.integers(*shape))

    def slice(self, value: str, start: int, end: int, axis: int) -> str:
        bounds = (self.integers(number) for number in (start, end, axis))
        return self.op("Slice", value, *bounds)

    def clip(self, value: str, lowest: int, highest: int) -> str:
        """Of int64."""
        bounds = (self.constant(bound, np.int64) for bound in (lowest, highest))
        return self.op("Clip", value, *bounds)

    def masked(self, value: str, where: str, fill: float) -> str:
        return self.op("Where", where, self.constant(fill, np.float32), value)

    def cast(self, value: str, to: int) -> str:
        return self.op("Cast", value, to=to)

    def size(self, value: str, axis: int) -> str:
        """Length of an axis, ``(1,)``."""
        return self.op("Shape", value, start=axis, end=axis + 1)

    def topk(self, values: str, k: str) -> tuple[str, str]:
        """Of every row; ``k`` is ``(1,)``."""
        best, where = self.ops("TopK", values, k, n_outputs=2, axis=1, largest=1, sorted=1)
        return best, where

    def branch(
        self,
        condition: str,
        then: Callable[[Graph], Sequence[str]],
        otherwise: Callable[[Graph], Sequence[str]],
        types: Sequence[int],
    ) -> list[str]:
        """One of two subgraphs, chosen when the graph runs; the other costs nothing."""
        branches = {}
        for key, build in (("then_branch", then), ("else_branch", otherwise)):
            inner = Graph(self)
            # An output must be made inside its branch.
            results = [inner.op("Identity", result) for result in build(inner)]
            outputs = [
                helper.make_tensor_value_info(result, kind, None)
                for result, kind in zip(results, types, strict=True)
            ]
            branches[key] = helper.make_graph(inner.nodes, self.name("branch"), [], outputs)
        return self.ops("If", condition, n_outputs=len(types), **branches)

    # -- putting others in ------------------------------------------------------------------------

    def splice(self, other: GraphProto, values: dict[str, str], prefix: str) -> list[str]:
        """Put all nodes of ``other`` here.

        Args:
            other: A graph whose constants may be shared with nothing here.
            values: Which value of this graph each input of ``other`` is.
            prefix: Put before all other names of ``other``.

        Returns:
            What its outputs are called here.
        """
        names = {"": "", **values}

        def renamed(name: str) -> str:
            return names.setdefault(name, f"{prefix}/{name}")

        for tensor in other.initializer:
            moved = TensorProto()
            moved.CopyFrom(tensor)
            moved.name = renamed(tensor.name)
            self.initializers[moved.name] = moved
        for node in other.node:
            moved_node = NodeProto()
            moved_node.CopyFrom(node)
            moved_node.name = ""
            moved_node.ClearField("metadata_props")
            moved_node.doc_string = ""
            moved_node.input[:] = [renamed(name) for name in node.input]
            moved_node.output[:] = [renamed(name) for name in node.output]
            self.nodes.append(moved_node)
        return [renamed(output.name) for output in other.output]

    def model(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> ModelProto:
        used = _names_read(self.nodes) | {value.name for value in inputs}
        kept = [tensor for name, tensor in self.initializers.items() if name in used]
        graph = helper.make_graph(self.nodes, "recommender", inputs, outputs, kept)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=10, producer_name="recbole_compress"
        )


def _names_read(nodes: Sequence[NodeProto]) -> set[str]:
    read: set[str] = set()
    for node in nodes:
        read.update(node.input)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                read |= _names_read(attribute.g.node)
    return read
