"""The door through which hidden states enter the product with the catalogue."""

from torch import nn

__all__ = ["ScoredState"]


class ScoredState(nn.Identity):
    """Hands on the vector that items are scored with; a module, so that it can be rounded there.

    However a head goes about its scores, in one product or core by core, it sees the same vector.

    Example:
        >>> import torch
        >>> ScoredState()(torch.tensor([1.5]))
        tensor([1.5000])
    """
