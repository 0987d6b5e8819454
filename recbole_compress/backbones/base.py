"""What every backbone promises."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from recbole_compress.backbones.adapter import Adapter

__all__ = ["Backbone", "states_at_last"]


def states_at_last(states: Tensor, lengths: Tensor) -> Tensor:
    """The state of each sequence's last real position; a length of 0 reads as 1.

    Args:
        states: ``(B, L, dim)``.
        lengths: ``(B,)``, at most ``L``.

    Returns:
        ``(B, dim)``.

    Example:
        >>> states_at_last(torch.arange(6.0).reshape(1, 3, 2), torch.tensor([2]))
        tensor([[2., 3.]])
    """
    row = torch.arange(states.shape[0], device=states.device)  # len() would fix it in a trace
    return states[row, (lengths - 1).clamp(min=0)]


class Backbone(nn.Module, abc.ABC):
    """Embedded sequences -> one hidden state per position.

    Sequences are right-padded: the real positions come first, ``lengths`` says how many. The
    suite in ``tests/backbones`` holds every backbone to these promises:

    - *causal*: the state at position ``t`` depends on positions ``0..t`` only;
    - *blind to padding*: neither the values in the padding nor its amount change the state at a
      real position. For right-padded input this follows from causality, so a backbone may
      ignore ``lengths``; states at padding positions are meaningless and must not be read;
    - a sequence of length 1 works.

    Args:
        embedding_dim: Width of the embedded items and of the hidden states.

    Attributes:
        embedding_dim: As above.
        adapters: One per place that :meth:`adapter_widths` names; empty until
            :meth:`add_adapters`.
        by_place: Parameters with a row for every place in a sequence, from the first on: a model of
            longer sequences has more.
        receptive_field: How many positions, its own included, a hidden state can depend on;
            ``None`` when there is no limit.
    """

    by_place: tuple[str, ...] = ()
    receptive_field: int | None = None

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        if embedding_dim < 1:
            raise ValueError(f"embedding_dim={embedding_dim}: a vector needs a width of 1 or more")
        self.embedding_dim = embedding_dim
        self.adapters = nn.ModuleList()

    def adapter_widths(self) -> tuple[int, ...]:
        """Width of the states at every place where an adapter can stand, in order of use."""
        return ()

    def add_adapters(self, size: int) -> None:
        """Put an adapter of bottleneck ``size`` at every place there is; nothing changes yet.

        They are never shared, whatever the layers around them are.

        Raises:
            ValueError: A backbone without such places, one that has adapters, or a size below 1.
        """
        if self.adapters or not self.adapter_widths():
            why = "has adapters already" if self.adapters else "has no place for adapters"
            raise ValueError(f"{type(self).__name__} {why}; fine-tune all weights instead")
        self.adapters.extend(Adapter(width, size) for width in self.adapter_widths())

    def _adapted(self, place: int, states: Tensor) -> Tensor:
        """What goes on from a place: ``states``, through its adapter where there is one."""
        return cast(Adapter, self.adapters[place])(states) if self.adapters else states

    def _adapter_macs(self, positions: Iterable[int]) -> int:
        """Multiply-adds of the adapters, given how many positions each of them is used at."""
        pairs = zip(self.adapters, positions, strict=False)  # there may be none
        return sum(cast(Adapter, adapter).macs(length) for adapter, length in pairs)

    @abc.abstractmethod
    def forward(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """Hidden states of right-padded sequences.

        Args:
            embedded: ``(B, L, embedding_dim)``, floating point.
            lengths: ``(B,)``, integer, in ``[1, L]``: number of real positions.

        Returns:
            ``(B, L, embedding_dim)``, dtype of ``embedded``.
        """

    def last_state(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """The state after each whole sequence, ``(B, embedding_dim)``; a length of 0 reads as 1.

        Equals ``forward(embedded, lengths)[row, lengths[row] - 1]``. A backbone may compute less
        for it than for all positions.
        """
        return states_at_last(self(embedded, lengths), lengths)

    def last_state_macs(self, length: int) -> int:
        """Multiply-adds of :meth:`last_state` for a single sequence, counted as in :meth:`macs`."""
        return self.macs(length)

    @abc.abstractmethod
    def macs(self, length: int) -> int:
        """Multiply-adds of the matrix products for one sequence of ``length`` positions.

        Plain arithmetic, nothing is run. Products with zeros that the forward pass does compute
        (left padding of a convolution, the masked half of attention) count; layer norms,
        activations and other element-wise work do not.
        """
