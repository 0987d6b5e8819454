"""The backward pass of a loss whose forward pass already made its gradients."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["scaled_gradients"]


def scaled_gradients(
    gradients: Iterable[Tensor | None], grad_output: Tensor, refusal: str
) -> tuple[Tensor | None, ...]:
    """Gradients of a sum times the gradient that comes in; None where none was needed.

    Out of place, so that the saved ones survive a second backward pass.

    Raises:
        RuntimeError: With ``refusal``, when a second derivative is asked for: the saved gradients
            would be constants in it.

    Example:
        >>> with torch.no_grad():  # as in a backward pass
        ...     scaled_gradients([torch.ones(2), None], torch.tensor(3.0), "no second derivative")
        (tensor([3., 3.]), None)
    """
    if torch.is_grad_enabled():  # create_graph=True
        raise RuntimeError(refusal)
    return tuple(None if gradient is None else gradient * grad_output for gradient in gradients)
