"""From the states of a sequence to the one vector that items are scored with, at every position."""

from __future__ import annotations

import abc

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from recbole_compress.backbones.base import Backbone, states_at_last
from recbole_compress.functional.sequence_mask import sequence_mask

__all__ = ["LastPosition", "Readout", "SoftAttentionReadout"]

# 16 MiB of float32: the largest of the buffers that attention over prefixes fills at a time.
_BUFFER_ELEMENTS = 2**22


class Readout(nn.Module, abc.ABC):
    """States of right-padded sequences -> one vector per sequence, or per prefix of it.

    The vector of position ``t`` depends on the states ``0..t`` only, so one forward pass gives
    what every prefix would give on its own.
    """

    @abc.abstractmethod
    def forward(self, states: Tensor) -> Tensor:
        """The vector of every prefix: ``(B, L, dim) -> (B, L, dim)``."""

    @abc.abstractmethod
    def last(self, states: Tensor, lengths: Tensor) -> Tensor:
        """The vector of whole sequences: ``(B, L, dim) -> (B, dim)``.

        Equals ``forward(states)[row, lengths[row] - 1]``; a length of 0 reads as 1.
        """

    def of_sequence(self, backbone: Backbone, embedded: Tensor, lengths: Tensor) -> Tensor:
        """The vector of whole embedded sequences, ``(B, L, dim) -> (B, dim)``.

        Equals ``last(backbone(embedded, lengths), lengths)``; asks the backbone for no more states
        than it reads.
        """
        return self.last(backbone(embedded, lengths), lengths)


class LastPosition(Readout):
    """The state of the newest item, as in SASRec: it adds no parameter.

    Example:
        >>> states = torch.arange(6.0).reshape(1, 3, 2)
        >>> LastPosition().last(states, torch.tensor([2]))
        tensor([[2., 3.]])
    """

    def forward(self, states: Tensor) -> Tensor:
        return states

    def last(self, states: Tensor, lengths: Tensor) -> Tensor:
        return states_at_last(states, lengths)

    def of_sequence(self, backbone: Backbone, embedded: Tensor, lengths: Tensor) -> Tensor:
        return backbone.last_state(embedded, lengths)


class SoftAttentionReadout(Readout):
    """A weighted sum of the states seen so far, their mean being the query.

    With ``x`` the states up to a position and ``mean`` their mean::

        weight_i = score(sigmoid(key(tanh(x_i)) + query(mean)))
        vector = sum_i weight_i * x_i

    The weights are not normalised. The sum may be over some of the items only, ``members``: then
    the mean is theirs too, and a prefix without any reads as zeros. The ``(B, L, L, dim)`` tensor
    of all pairs is never held: positions are worked through in chunks, and again in the backward
    pass.

    Args:
        dim: Width of the states.

    Example:
        >>> readout = SoftAttentionReadout(8)
        >>> states = torch.randn(2, 5, 8)
        >>> torch.allclose(readout(states)[:, 2], readout.last(states, torch.tensor([3, 3])))
        True

    Reference:
        OD-Rec: Xia et al., SIGIR 2022, arXiv:2204.11091. Differs from the released code: padding
        has no part in the mean.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.key = nn.Linear(dim, dim)
        self.query = nn.Linear(dim, dim, bias=False)
        self.score = _Linear(dim, 1, bias=False)
        for layer in (self.key, self.query, self.score):
            nn.init.normal_(layer.weight, std=dim**-0.5)
        nn.init.zeros_(self.key.bias)

    def forward(self, states: Tensor, members: Tensor | None = None) -> Tensor:
        """As :meth:`Readout.forward`; ``members`` is bool, ``(B, L)``, None for all items."""
        batch, length, dim = states.shape
        members = _all(states) if members is None else members
        counts = members.cumsum(1).clamp(min=1).unsqueeze(-1)
        queries = self.query((states * members.unsqueeze(-1)).cumsum(1) / counts)
        keys = self.key(torch.tanh(states))
        # Read once: where it is put on a grid first, the backward pass would do that again.
        weight = self.score.weight
        step = max(1, _BUFFER_ELEMENTS // max(1, batch * length * dim))
        parts = []
        for start in range(0, length, step):
            end = min(start + step, length)
            arguments = (
                queries[:, start:end],
                keys[:, :end],
                states[:, :end],
                _seen_by(members[:, :end], start),
                weight,
            )
            if end - start < length and torch.is_grad_enabled():
                parts.append(checkpoint(self._sum, *arguments, use_reentrant=False))
            else:
                parts.append(self._sum(*arguments))
        return torch.cat(parts, 1) if parts else states

    def last(self, states: Tensor, lengths: Tensor, members: Tensor | None = None) -> Tensor:
        seen = sequence_mask(lengths.clamp(min=1), states.shape[1])
        if members is not None:
            seen = seen & members
        counts = seen.sum(1, keepdim=True).clamp(min=1)
        # A product: nothing that stands behind the end may come in, not even a NaN.
        real = states.masked_fill(~seen.unsqueeze(-1), 0.0)
        query = self.query(real.sum(1) / counts).unsqueeze(1)
        keys = self.key(torch.tanh(real))
        return self._sum(query, keys, real, seen.unsqueeze(1), self.score.weight).squeeze(1)

    def _sum(
        self, queries: Tensor, keys: Tensor, states: Tensor, seen: Tensor, weight: Tensor
    ) -> Tensor:
        """``(B, C, dim)`` of queries ``(B, C, dim)``, keys and states ``(B, L, dim)``, seen
        ``(B, C, L)``, the score's weight."""
        mixed = torch.sigmoid(keys.unsqueeze(1) + queries.unsqueeze(2))
        weights = self.score(mixed, weight).squeeze(-1) * seen
        return weights @ states


class _Linear(nn.Linear):
    """A linear layer whose weight can be given by who has read it before."""

    def forward(self, input: Tensor, weight: Tensor | None = None) -> Tensor:
        return F.linear(input, self.weight if weight is None else weight, self.bias)


def _all(states: Tensor) -> Tensor:
    return torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)


def _seen_by(members: Tensor, start: int) -> Tensor:
    """Which members the positions from ``start`` on see: bool ``(B, L - start, L)``."""
    column = torch.arange(members.shape[1], device=members.device)
    return members.unsqueeze(1) & (column <= column[start:].unsqueeze(1))
