"""From an item sequence to the hidden state that items are scored with, as an ONNX graph.

torch's own exporter traces the model's forward pass. The item table is not part of what it sees: a
stand-in leaves one node, ``Lookup``, in the graph, which is replaced by nodes that read the
stored table, whatever form that has. Modules that the exporter unrolls (GRU), or whose weights
are stored as integers, leave nodes of their own in the same way.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from onnx import GraphProto, NodeProto, helper, inliner
from torch import Tensor, nn

from recbole_compress.errors import ExportError
from recbole_compress.export.graph import FLOAT, OPSET, Graph
from recbole_compress.export.operators import STAND_INS, StoredMatrix, replace_modules
from recbole_compress.export.storage import Integers, unpacked

__all__ = ["Encoder", "LookupNode", "Traces", "splice_encoder", "traced"]

# From ids to vectors, in a graph.
Lookup = Callable[[Graph, str], str]


class LookupNode(nn.Module):
    """Stands where the item table stood: leaves a node in the graph and holds no numbers."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, ids: Tensor) -> Tensor:
        shape = (*ids.shape, self.dim)
        return torch.onnx.ops.symbolic(
            f"{STAND_INS}::Lookup", (ids,), dtype=torch.float32, shape=shape, version=1
        )


class Encoder(NamedTuple):
    """A traced encoder, and the weights that nodes in it stand for."""

    graph: GraphProto
    weights: list[StoredMatrix]


class Traces:
    """Encoders of one model, each traced once, whatever the integers of its weights are.

    Tracing is most of what a file takes, and a model that is to fit into so many bytes is put
    together several times, with other integers.
    """

    def __init__(self) -> None:
        self._found: dict[frozenset[str], Encoder] = {}

    def of(
        self,
        encoder: nn.Module,
        inputs: dict[str, Tensor],
        dynamic: dict[str, Any],
        names: Collection[str],
    ) -> Encoder:
        """:func:`traced`, whose arguments these are, unless that was done before."""
        key = frozenset(names)
        if key not in self._found:
            self._found[key] = traced(encoder, inputs, dynamic, names)
        return self._found[key]


def traced(
    encoder: nn.Module,
    inputs: dict[str, Tensor],
    dynamic: dict[str, Any],
    names: Collection[str],
) -> Encoder:
    """The graph of ``encoder``, whose item table is a :class:`LookupNode` already.

    Args:
        encoder: From ``inputs`` to hidden states ``(B, dim)``.
        inputs: An example, by the names of its arguments.
        dynamic: Their dynamic axes, as torch's exporter takes them.
        names: Of the parameters that are stored as integers.

    Raises:
        ExportError: torch's exporter cannot trace the model.
    """
    encoder = copy.deepcopy(encoder).eval()
    weights = replace_modules(encoder, names)
    try:
        with warnings.catch_warnings(), torch.no_grad(), _quiet():
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            program = torch.onnx.export(
                encoder,
                kwargs=inputs,
                dynamo=True,
                dynamic_shapes=dynamic,
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:
        cause = error.__cause__ or error  # the outer one only says which step failed
        reason = next((line for line in str(cause).splitlines() if line.strip()), repr(cause))
        raise ExportError(
            f"{_name(encoder)}: torch's exporter cannot trace this model ({reason[:200]})"
        ) from error
    assert program is not None
    return Encoder(inliner.inline_local_functions(program.model_proto).graph, weights)


def _name(encoder: nn.Module) -> str:
    return type(getattr(encoder, "model", encoder)).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remarks on operators of packages that are not there."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def splice_encoder(
    graph: Graph,
    encoder: Encoder,
    values: dict[str, str],
    lookup: Lookup,
    integers: Mapping[str, Integers],
) -> str:
    """Put a traced encoder into ``graph``, with the stored numbers in place of their stand-ins.

    Args:
        graph: Grows by its nodes.
        encoder: From :func:`traced`; left as it is.
        values: What its inputs are called in ``graph``.
        lookup: Makes the nodes that read the stored item table.
        integers: By the names of the parameters that it was traced without.

    Returns:
        The hidden states, ``(B, dim)``.
    """
    start = len(graph.nodes)
    (hidden,) = graph.splice(encoder.graph, values, "encoder")
    spliced, graph.nodes = graph.nodes[start:], graph.nodes[:start]
    for node in spliced:
        if node.op_type == "Softmax":
            node.input[0] = _without_subnormals(graph, node)
        if node.domain != STAND_INS:
            graph.nodes.append(node)
            continue
        if node.op_type == "Lookup":
            result = lookup(graph, node.input[0])
        else:
            number = next(a.i for a in node.attribute if a.name == "number")
            matrix = encoder.weights[number]
            content = matrix.of(integers[matrix.name])
            result = graph.reshape(unpacked(graph, content), *matrix.shape)
        graph.nodes.append(helper.make_node("Identity", [result], [node.output[0]]))
    return hidden


def _without_subnormals(graph: Graph, softmax: NodeProto) -> str:
    """A softmax's input where masked positions come out as 1e-35, which adds nothing.

    Numbers so small that they are subnormal, which they would be, make it ten times slower.
    """
    values = graph.cast(softmax.input[0], FLOAT)  # from double, where a model went there
    axis = next((a.i for a in softmax.attribute if a.name == "axis"), -1)
    largest = graph.op("ReduceMax", values, graph.integers(axis), keepdims=1)
    smallest = graph.op("Sub", largest, graph.constant(80, np.float32))
    return graph.op("Max", values, smallest)
