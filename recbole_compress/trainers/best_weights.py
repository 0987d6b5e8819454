"""The best weights of a training that writes no file."""

from __future__ import annotations

import copy
import math

from torch import Tensor, nn

__all__ = ["BestWeights"]


class BestWeights:
    """The best weights so far, where no file keeps them.

    Args:
        model: Whose weights.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> best = BestWeights(layer)
        >>> best.offer(0.5)
        >>> kept = layer.bias.item()
        >>> _ = nn.init.constant_(layer.bias, 7.0)
        >>> best.offer(0.4)  # no better
        >>> best.restore()
        >>> layer.bias.item() == kept
        True
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.score = -math.inf
        self.weights: dict[str, Tensor] | None = None

    def offer(self, score: float) -> None:
        """Keep the model's weights as they are now, if none before had such a score."""
        if score > self.score:
            self.score, self.weights = score, copy.deepcopy(self.model.state_dict())

    def restore(self) -> None:
        """Put the kept weights into the model; nothing happens where none were offered."""
        if self.weights is not None:
            self.model.load_state_dict(self.weights)
