"""What every backbone promises."""

from __future__ import annotations

import abc

from torch import Tensor, nn

__all__ = ["Backbone"]


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
        receptive_field: How many positions, its own included, a hidden state can depend on;
            ``None`` when there is no limit.
    """

    receptive_field: int | None = None

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        if embedding_dim < 1:
            raise ValueError(f"embedding_dim={embedding_dim}: a vector needs a width of 1 or more")
        self.embedding_dim = embedding_dim

    @abc.abstractmethod
    def forward(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """Hidden states of right-padded sequences.

        Args:
            embedded: ``(B, L, embedding_dim)``, floating point.
            lengths: ``(B,)``, integer, in ``[1, L]``: number of real positions.

        Returns:
            ``(B, L, embedding_dim)``, dtype of ``embedded``.
        """

    @abc.abstractmethod
    def macs(self, length: int) -> int:
        """Multiply-adds of the matrix products for one sequence of ``length`` positions.

        Plain arithmetic, nothing is run. Products with zeros that the forward pass does compute
        (left padding of a convolution, the masked half of attention) count; layer norms,
        activations and other element-wise work do not.
        """
