"""States that carry what they point at: a vector, and behind it the items of their own sequence.

A head sees states and no sequences. So what a sequence says of its own items travels in the state,
one row of floats, and everything that takes, cuts or sums over states works with them as it is.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["MOST_ITEMS", "PointedStates", "pack_pointers", "pointed_log_probs_", "unpack_pointers"]

# The largest integer that float32 holds with all below it.
MOST_ITEMS = 2**24


class PointedStates(NamedTuple):
    """The columns of packed states, ``(N, dim + 1 + 2 * L)`` in all.

    Attributes:
        vectors: What items are scored with, ``(N, dim)``.
        gate: Logit of the probability that the next item is one of the sequence, ``(N,)``.
        log_shares: Log-probability of each of the sequence's items if it is, ``(N, L)``.
        items: Their ids, int64 ``(N, L)``, each once; 0 where there is none.
    """

    vectors: Tensor
    gate: Tensor
    log_shares: Tensor
    items: Tensor

    @property
    def log_new(self) -> Tensor:
        """Log-probability that the next item is none of the sequence, ``(N, 1)``."""
        return F.logsigmoid(-self.gate).unsqueeze(1)

    @property
    def log_pointed(self) -> Tensor:
        """Log-probability of every item of the sequence, ``(N, L)``."""
        return F.logsigmoid(self.gate).unsqueeze(1) + self.log_shares


def pack_pointers(vectors: Tensor, gate: Tensor, log_shares: Tensor, items: Tensor) -> Tensor:
    """One row of floats per state, from which :func:`unpack_pointers` reads them again.

    Args:
        vectors: ``(..., dim)``, floating.
        gate: ``(...)``.
        log_shares: ``(..., L)``.
        items: ``(..., L)``, integer.

    Returns:
        ``(..., dim + 1 + 2 * L)``, float32, or the dtype of ``vectors`` if that is wider.
    """
    dtype = torch.promote_types(vectors.dtype, torch.float32)
    parts = (vectors, gate.unsqueeze(-1), log_shares, items)
    return torch.cat([part.to(dtype) for part in parts], -1)


def unpack_pointers(states: Tensor, dim: int) -> PointedStates:
    """The columns of packed states whose vectors are ``dim`` wide.

    Example:
        >>> packed = pack_pointers(torch.ones(1, 2), torch.zeros(1), torch.zeros(1, 3),
        ...                        torch.tensor([[7, 0, 4]]))
        >>> packed.shape, unpack_pointers(packed, dim=2).items
        (torch.Size([1, 9]), tensor([[7, 0, 4]]))
    """
    length = (states.shape[1] - dim - 1) // 2
    vectors, gate, log_shares, items = states.split([dim, 1, length, length], 1)
    return PointedStates(vectors, gate.squeeze(1), log_shares, items.detach().long())


def pointed_log_probs_(log_probs: Tensor, states: PointedStates) -> Tensor:
    """Log-probabilities of all items where those of the sequence are pointed at.

    Equals, for every row::

        logsigmoid(-gate) + log_probs[item]         for an item not in the sequence
        logsigmoid(gate) + log_shares[place]        for the item at a place

    Args:
        log_probs: Of the items not in the sequence, ``(N, n_items)`` in the order of ids; what
            stands in other columns means nothing, and that of padding comes back as ``-inf``.
            Overwritten if it needs no gradient.
        states: What they were made from.
    """
    # In place where no gradient needs it: a copy of all would take as long as they did.
    new = states.log_new
    result = log_probs + new if log_probs.requires_grad else log_probs.add_(new)
    # Places without an item write into column 0, which is no item's.
    result.scatter_(1, states.items, states.log_pointed.to(result.dtype))
    result[:, 0] = -torch.inf
    return result
