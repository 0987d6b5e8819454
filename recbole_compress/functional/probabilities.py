"""Models that say probabilities where others say logits.

The softmax of probabilities is nearly the same for all items, so what learns from scores, or draws
by them, wants their logarithms.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["are_probabilities", "logits_of"]

# How far from 1 probabilities of a whole catalogue may add up.
_ROUNDING = 1e-3


def are_probabilities(scores: Tensor) -> bool:
    """Whether every row is a distribution over the items, with the padding in column 0 or without.

    Args:
        scores: ``(C, n_items)``.

    Example:
        >>> are_probabilities(torch.tensor([[0.0, 0.25, 0.75], [0.25, 0.25, 0.5]]))
        True
        >>> are_probabilities(torch.tensor([[0.0, 0.25, 0.75], [0.0, -0.5, 1.5]]))
        False
    """
    items = scores[:, 1:].float()
    total = items.sum(1)
    is_one = [(each - 1).abs() < _ROUNDING for each in (total, total + scores[:, 0])]
    return bool((items >= 0).all() and torch.logical_or(*is_one).all())


def logits_of(probabilities: Tensor) -> Tensor:
    """Scores whose softmax these are; what has no probability gets a finite score all the same.

    Args:
        probabilities: Of any shape, from 0 to 1.

    Example:
        >>> logits_of(torch.tensor([0.0, 0.25, 0.75])).softmax(0).round(decimals=4)
        tensor([0.0000, 0.2500, 0.7500])
    """
    return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()
