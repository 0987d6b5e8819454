"""Modules with integer weights, as the nodes they become in the graph.

Their matrices are unpacked when the file is loaded: they are small, and all positions of a
sequence pass through each, where products in float32 take half the time of integer ones.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from recbole_compress.export.storage import Integers

__all__ = ["STAND_INS", "StoredMatrix", "replace_modules"]

STAND_INS = "recbole_compress.export"  # the domain of nodes that a stored weight takes the place of


class StoredMatrix(NamedTuple):
    """What a stand-in in a traced graph refers to by its number.

    Attributes:
        name: Of the parameter of the encoder, whatever its integers are.
        shape: As the graph wants it.
        rows: The order that it wants the rows of the integers in; None for the one they have.
    """

    name: str
    shape: tuple[int, ...]
    rows: np.ndarray | None = None

    def of(self, integers: Integers) -> Integers:
        """The parameter's integers as the graph wants them."""
        return integers if self.rows is None else integers.take_rows(self.rows)


class StoredWeight(nn.Module):
    """Leaves a node that stands for a weight of this shape."""

    def __init__(self, number: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.number = number
        self.shape = shape

    def forward(self, original: Tensor | None = None) -> Tensor:
        return torch.onnx.ops.symbolic(
            f"{STAND_INS}::Stored",
            (),
            {"number": self.number},
            dtype=torch.float32,
            shape=self.shape,
            version=1,
        )


class _Given(nn.Module):
    """A weight in full precision."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight: Tensor
        self.register_buffer("weight", weight)

    def forward(self) -> Tensor:
        return self.weight


class StoredGRU(nn.Module):
    """A GRU as ONNX's operator; integer matrices are unpacked when the file is loaded.

    torch's exporter knows that operator too, but fixes the length of the sequence on the way.
    """

    def __init__(self, gru: nn.GRU, stored: dict[str, str], weights: list[StoredMatrix]) -> None:
        super().__init__()
        self.hidden_size = gru.hidden_size
        self.batch_first = gru.batch_first
        self.layers = nn.ModuleList()
        for layer in range(gru.num_layers):
            parts = nn.ModuleList()
            for kind in ("ih", "hh"):
                parts.append(self._matrix(gru, f"weight_{kind}_l{layer}", stored, weights))
            if gru.bias:
                biases = [getattr(gru, f"bias_{kind}_l{layer}") for kind in ("ih", "hh")]
                both = torch.cat([bias.detach()[self._order()] for bias in biases])
                parts.register_buffer("bias", both.unsqueeze(0))
            self.layers.append(parts)

    def _matrix(
        self, gru: nn.GRU, name: str, stored: dict[str, str], weights: list[StoredMatrix]
    ) -> nn.Module:
        weight = getattr(gru, name).detach()
        if name not in stored:
            return _Given(weight[self._order()].unsqueeze(0))
        return _stand_in(weights, StoredMatrix(stored[name], (1, *weight.shape), self._order()))

    def _order(self) -> np.ndarray:
        """ONNX has the gates in another order than torch: update, reset, new."""
        reset, update, new = np.arange(3 * self.hidden_size).reshape(3, -1)
        return np.concatenate([update, reset, new])

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        steps = x.transpose(0, 1) if self.batch_first else x
        for parts in self.layers:
            inputs, recurrent = (part() for part in cast(nn.ModuleList, parts))
            length, batch = steps.shape[0], steps.shape[1]
            steps = torch.onnx.ops.symbolic(
                "GRU",
                (steps, inputs, recurrent, getattr(parts, "bias", None)),
                {"hidden_size": self.hidden_size, "linear_before_reset": 1},
                dtype=torch.float32,
                shape=(length, 1, batch, self.hidden_size),
            ).squeeze(1)
        return (steps.transpose(0, 1) if self.batch_first else steps), None


def replace_modules(encoder: nn.Module, names: Collection[str]) -> list[StoredMatrix]:
    """Let weights of ``encoder`` be read as integers, in place.

    Args:
        encoder: The module to trace.
        names: Of parameters in ``encoder``; each is a matrix of its first axis against all others.

    Returns:
        What the stand-ins in the traced graph refer to.
    """
    weights: list[StoredMatrix] = []
    for name, module in list(encoder.named_modules()):
        start = f"{name}." if name else ""
        stored = {
            parameter: start + parameter
            for parameter, _ in module.named_parameters(recurse=False)
            if start + parameter in names
        }
        if isinstance(module, nn.GRU):
            _put(encoder, name, StoredGRU(module, stored, weights))
            continue
        for parameter, whole_name in stored.items():
            shape = tuple(getattr(module, parameter).shape)
            node = _stand_in(weights, StoredMatrix(whole_name, shape))
            parametrize.register_parametrization(module, parameter, node, unsafe=True)
    return weights


def _stand_in(weights: list[StoredMatrix], matrix: StoredMatrix) -> StoredWeight:
    weights.append(matrix)
    return StoredWeight(len(weights) - 1, matrix.shape)


def _put(encoder: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(encoder.get_submodule(parent), last, module)
