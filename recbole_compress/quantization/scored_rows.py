"""Single rows of a table that round what they are multiplied with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ScoredRows"]

_PRODUCTS = {torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__}


class ScoredRows(torch.Tensor):
    """The vectors of one item per example, where scoring multiplies hidden states with them.

    RecBole's models score single items by ``torch.mul(hidden, self.item_embedding(item)).sum(1)``:
    a scalar product per example. The hidden states are to be rounded there as in the product with
    the whole table, or ``predict`` and ``full_sort_predict`` disagree. So the rows do it, in
    products with a plain tensor of their own shape. In everything else they are a plain tensor, and
    so is what comes out.

    Example:
        >>> from recbole_compress.quantization.activations import ActivationQuantizer
        >>> rows = ScoredRows.of(torch.ones(1, 2), ActivationQuantizer(2))
        >>> torch.mul(torch.tensor([[9.0, 1.0]]), rows)
        tensor([[9., 0.]])
    """

    quantizer: nn.Module

    @classmethod
    def of(cls, rows: Tensor, quantizer: nn.Module) -> ScoredRows:
        """``rows``, ``(B, dim)``, with what rounds the other factor of their products."""
        view = rows.as_subclass(cls)
        view.quantizer = quantizer
        return view

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _PRODUCTS and len(args) == 2:
            args = _rounded(*args)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


def _rounded(first: Any, second: Any) -> tuple[Any, Any]:
    if isinstance(first, ScoredRows) and _is_state(second, first):
        return first, first.quantizer(second)
    if isinstance(second, ScoredRows) and _is_state(first, second):
        return second.quantizer(first), second
    return first, second


def _is_state(other: Any, rows: ScoredRows) -> bool:
    """Not a factor such as a mask, nor rows of another table, which are on a grid already."""
    return type(other) is Tensor and other.is_floating_point() and other.shape == rows.shape
