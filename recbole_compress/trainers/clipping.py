"""Clipping gradients in the optimizer's own step, whatever it steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

__all__ = ["clip_before_steps"]


def clip_before_steps(
    optimizer: Optimizer, parameters: Iterable[Tensor], how: Mapping[str, Any]
) -> None:
    """Before every step, the norm of all gradients together is at most ``how["max_norm"]``.

    RecBole's loop clips before it knows of a scaler: gradients that are 65,536 times too large for
    the sake of float16 come out that much too small. Here they have their own size, or the
    optimizer is about to divide by the scale itself, and the bound is scaled as they are.

    Args:
        optimizer: Gets the hook.
        parameters: What it steps.
        how: Arguments of ``torch.nn.utils.clip_grad_norm_``.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = torch.optim.SGD([weight], lr=1.0)
        >>> clip_before_steps(optimizer, [weight], {"max_norm": 5.0})
        >>> weight.grad = torch.tensor([30.0, 40.0])
        >>> optimizer.step()
        >>> weight.data
        tensor([-3.0000, -4.0000])
    """
    stepped = list(parameters)

    def clip(*_: Any) -> None:  # what it returned would be the step's new arguments
        scale = getattr(optimizer, "grad_scale", None)  # a fused step unscales by itself
        bound = how["max_norm"] * (1.0 if scale is None else float(scale))
        clip_grad_norm_(stepped, **{**how, "max_norm": bound})

    optimizer.register_step_pre_hook(clip)
