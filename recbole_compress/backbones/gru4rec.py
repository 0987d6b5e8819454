"""A gated recurrent network over the embedded sequence."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_compress.backbones.base import Backbone, states_at_last

__all__ = ["GRU4Rec"]


class GRU4Rec(Backbone):
    """Dropout, GRU, then a dense layer from the hidden width back to the items' width.

    Equals::

        hidden, _ = gru(dropout(embedded))
        return dense(hidden)

    Layer sharing is not defined for it: its layers have different input widths, and the
    recurrence already uses one set of weights at every step.

    Args:
        embedding_dim: Width of the items and of the output.
        hidden_size: Width of the recurrent state.
        num_layers: GRU layers on top of each other.
        dropout: Probability of dropping an element of the embedded input.

    Example:
        >>> import torch
        >>> backbone = GRU4Rec(8, hidden_size=16)
        >>> backbone(torch.zeros(2, 5, 8), lengths=torch.tensor([5, 3])).shape
        torch.Size([2, 5, 8])

    Reference:
        Tan et al., "Improved Recurrent Neural Networks for Session-based Recommendations", DLRS
        2016, in RecBole's form: no bias inside the GRU, Xavier-uniform weights. Differs: RecBole
        draws only the first layer that way, here every layer is.
    """

    def __init__(
        self,
        embedding_dim: int,
        hidden_size: int = 128,
        num_layers: int = 1,
        dropout: float = 0.3,
    ) -> None:
        super().__init__(embedding_dim)
        for name, value in (("hidden_size", hidden_size), ("num_layers", num_layers)):
            if value < 1:
                raise ValueError(f"{name}={value}: a GRU needs 1 or more")
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(embedding_dim, hidden_size, num_layers, bias=False, batch_first=True)
        self.dense = nn.Linear(hidden_size, embedding_dim)
        for weight in self.gru.parameters():
            nn.init.xavier_uniform_(weight)

    def forward(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        # No packing by length: the recurrence is causal, so padding after the real positions
        # cannot reach them, and packed sequences do not export.
        hidden, _ = self.gru(self._adapted(0, self.dropout(embedded)))
        return self.dense(self._adapted(1, hidden))

    def adapter_widths(self) -> tuple[int, ...]:
        """On the input and on the recurrent state."""
        return self.embedding_dim, self.gru.hidden_size

    def last_state(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        hidden, _ = self.gru(self._adapted(0, self.dropout(embedded)))
        return self.dense(self._adapted(1, states_at_last(hidden, lengths)))

    def macs(self, length: int) -> int:
        layers = length * (self._recurrent_macs() + self.dense.weight.numel())
        return layers + self._adapter_macs((length, length))

    def last_state_macs(self, length: int) -> int:
        layers = length * self._recurrent_macs() + self.dense.weight.numel()
        return layers + self._adapter_macs((length, 1))

    def _recurrent_macs(self) -> int:
        # Three gates per layer, each reading the input and the previous state.
        size = self.gru.hidden_size
        read = self.gru.input_size + (2 * self.gru.num_layers - 1) * size
        return 3 * size * read
