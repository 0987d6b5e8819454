"""A small network inside a frozen one: what fine-tuning with adapters trains."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Adapter"]


class Adapter(nn.Module):
    """A bottleneck with a skip connection: the identity until it is trained.

    Equals ``x + up(relu(down(x)))``, where ``up`` starts at zero.

    Args:
        dim: Width of the states it changes.
        size: Width of the bottleneck.

    Raises:
        ValueError: A width below 1.

    Example:
        >>> import torch
        >>> states = torch.randn(2, 5, 8)
        >>> torch.equal(Adapter(8, size=2)(states), states)
        True

    Reference:
        Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019; in recommenders
        PeterRec, Yuan et al., SIGIR 2020 (its serial form).
    """

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("size", size)):
            if value < 1:
                raise ValueError(f"{name}={value}: an adapter needs 1 or more")
        self.down = nn.Linear(dim, size)
        self.up = nn.Linear(size, dim)
        nn.init.normal_(self.down.weight, std=dim**-0.5)
        for start in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(start)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(nn.functional.relu(self.down(x)))

    def macs(self, length: int) -> int:
        """Multiply-adds for ``length`` positions."""
        return length * (self.down.weight.numel() + self.up.weight.numel())
