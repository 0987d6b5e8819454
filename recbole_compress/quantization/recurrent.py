"""Recurrent layers whose matrices are read when they are used, so that they can be quantized."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

__all__ = ["OpenRecurrent", "opened"]

State = tuple[Tensor, ...]


def _gru(gates: Tensor, recurrent: Tensor, state: State) -> State:
    """One step of ``nn.GRU``; both products hold reset, update and new, in this order."""
    of_input, of_state = gates.chunk(3, -1), recurrent.chunk(3, -1)
    reset = torch.sigmoid(of_input[0] + of_state[0])
    update = torch.sigmoid(of_input[1] + of_state[1])
    new = torch.tanh(of_input[2] + reset * of_state[2])
    return (new + update * (state[0] - new),)


def _lstm(gates: Tensor, recurrent: Tensor, state: State) -> State:
    """One step of ``nn.LSTM``; both products hold input, forget, cell and output."""
    into, forget, cell, out = (gates + recurrent).chunk(4, -1)
    memory = torch.sigmoid(forget) * state[1] + torch.sigmoid(into) * torch.tanh(cell)
    return torch.sigmoid(out) * torch.tanh(memory), memory


_STEPS: dict[type, tuple[Callable[[Tensor, Tensor, State], State], int]] = {
    nn.GRU: (_gru, 1),
    nn.LSTM: (_lstm, 2),
}


class OpenRecurrent(nn.Module):
    """``nn.GRU`` or ``nn.LSTM`` step by step.

    torch's own read one flat copy of their weights, past any parametrization. This one has the same
    parameters under the same names, takes and returns the same and equals them up to rounding;
    the input's products are taken for all steps at once. What enters its products, inputs and
    states, goes through ``input_quantizer`` where there is one.

    Args:
        layers: The layers to stand in for; their parameters are taken over.

    Raises:
        ValueError: Layers that are neither, or with ``proj_size``.

    Example:
        >>> gru = nn.GRU(4, 8, batch_first=True)
        >>> x = torch.randn(2, 5, 4)
        >>> torch.allclose(OpenRecurrent(gru)(x)[0], gru(x)[0], atol=1e-6)
        True
    """

    def __init__(self, layers: nn.RNNBase) -> None:
        super().__init__()
        kind = next((kind for kind in _STEPS if isinstance(layers, kind)), None)
        if kind is None or layers.proj_size:
            raise ValueError(f"{type(layers).__name__}: only a GRU or LSTM without projections")
        self._step, self._n_states = _STEPS[kind]
        self.input_size, self.hidden_size = layers.input_size, layers.hidden_size
        self.num_layers, self.bidirectional = layers.num_layers, layers.bidirectional
        self.bias, self.batch_first = layers.bias, layers.batch_first
        self.dropout = float(layers.dropout)
        self.train(layers.training)
        for name, parameter in layers.named_parameters(recurse=False):
            self.register_parameter(name, parameter)

    def forward(
        self, input: Tensor, hx: Tensor | State | None = None
    ) -> tuple[Tensor, Tensor | State]:
        """As torch's, for tensors ``(L, B, input_size)``, or batch first; no packed sequences."""
        if isinstance(input, PackedSequence) or input.dim() != 3:
            raise TypeError(
                f"{type(input).__name__}: quantized recurrent layers read padded batches of "
                "sequences, a tensor of three dimensions"
            )
        x = input.transpose(0, 1) if self.batch_first else input
        directions = ("", "_reverse") if self.bidirectional else ("",)
        given = (hx,) if isinstance(hx, Tensor) else hx
        if given is None:
            zeros = x.new_zeros(self.num_layers * len(directions), x.shape[1], self.hidden_size)
            given = (zeros,) * self._n_states
        last: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for suffix in directions:
                start = tuple(state[len(last)] for state in given)
                output, end = self._one_direction(x, start, f"l{layer}{suffix}")
                outputs.append(output)
                last.append(end)
            x = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        final = tuple(torch.stack(states) for states in zip(*last, strict=True))
        out = x.transpose(0, 1) if self.batch_first else x
        return out, final[0] if self._n_states == 1 else final

    def _one_direction(self, x: Tensor, state: State, which: str) -> tuple[Tensor, State]:
        backwards = which.endswith("_reverse")
        of_input, of_state = (
            getattr(self, f"weight_ih_{which}"),
            getattr(self, f"weight_hh_{which}"),
        )
        bias_input = getattr(self, f"bias_ih_{which}") if self.bias else None
        bias_state = getattr(self, f"bias_hh_{which}") if self.bias else None
        gates = F.linear(self._rounded(x), of_input, bias_input)
        outputs = []
        for step in reversed(gates.unbind(0)) if backwards else gates.unbind(0):
            recurrent = F.linear(self._rounded(state[0]), of_state, bias_state)
            state = self._step(step, recurrent, state)
            outputs.append(state[0])
        if backwards:
            outputs.reverse()
        return torch.stack(outputs) if outputs else x.new_zeros(
            0, x.shape[1], self.hidden_size
        ), state

    def _rounded(self, x: Tensor) -> Tensor:
        quantizer = self._modules.get("input_quantizer")
        return x if quantizer is None else quantizer(x)

    def flatten_parameters(self) -> None:
        """For callers that tidy torch's layers up; there is nothing to do."""

    def extra_repr(self) -> str:
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, "
            f"bias={self.bias}, batch_first={self.batch_first}, bidirectional={self.bidirectional}"
        )


def opened(layers: nn.RNNBase) -> OpenRecurrent | None:
    """The stand-in, or None where there is none."""
    try:
        return OpenRecurrent(layers)
    except ValueError:
        return None
