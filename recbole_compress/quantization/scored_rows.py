"""Single rows of a table that round what they are multiplied with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["KEEP_THE_GRID", "ScoredRows"]

_ELEMENTWISE = {torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__}
_MATRIX = {torch.matmul, torch.bmm, Tensor.matmul, Tensor.bmm, Tensor.__matmul__}
_VIEWS = {
    torch.unsqueeze,
    torch.permute,
    torch.transpose,
    Tensor.unsqueeze,
    Tensor.permute,
    Tensor.transpose,
    Tensor.contiguous,
    Tensor.mT.__get__,  # type: ignore[attr-defined]
}
# They add dimensions in front or repeat; counted from the end, nothing moves.
_EXPANSIONS = {Tensor.expand, Tensor.expand_as}
# What models do to items before they score them that leaves every row a multiple of its integers.
KEEP_THE_GRID = {F.relu, torch.relu, Tensor.relu, F.normalize, F.dropout}


class ScoredRows(torch.Tensor):
    """The vectors of one item per example, where scoring multiplies hidden states with them.

    RecBole's models score single items by ``torch.mul(hidden, self.item_embedding(item)).sum(1)``:
    a scalar product per example. The hidden states are to be rounded there as in the product with
    the whole table, or ``predict`` and ``full_sort_predict`` disagree. So the rows do it, in
    products with a plain tensor of their own shape and in matrix products example by example. They
    go on doing it as views, clipped by a ReLU or normalised. In everything else they are a plain
    tensor, and so is what comes out.

    Attributes:
        quantizer: Rounds the other factor.
        axis: Dimension of a row's numbers, counted from the end.

    Example:
        >>> from recbole_compress.quantization.activations import ActivationQuantizer
        >>> rows = ScoredRows.of(torch.ones(1, 2), ActivationQuantizer(2))
        >>> torch.mul(torch.tensor([[9.0, 1.0]]), rows)
        tensor([[9., 0.]])
        >>> torch.bmm(torch.tensor([[[9.0, 1.0]]]), rows.unsqueeze(2))
        tensor([[[9.]]])
    """

    quantizer: nn.Module
    axis: int

    @classmethod
    def of(cls, rows: Tensor, quantizer: nn.Module, axis: int = -1) -> ScoredRows:
        """``rows``, ``(B, dim)`` or a view, with what rounds the other factor of their products."""
        view = rows.as_subclass(cls)
        view.quantizer, view.axis = quantizer, axis
        return view

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(kind is not cls for kind in types):
            return NotImplemented  # a whole table, to which rows are states like any other
        kwargs = kwargs or {}
        if func in _ELEMENTWISE and len(args) == 2:
            args = _rounded(*args)
        elif func in _MATRIX and len(args) == 2:
            args = _rounded_by_example(*args)
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        rows = args[0] if args else None
        if not isinstance(rows, ScoredRows):
            return result
        if func in KEEP_THE_GRID or func in _EXPANSIONS:
            return cls.of(result, rows.quantizer, rows.axis)
        if func in _VIEWS:
            return cls.of(result, rows.quantizer, _axis_after(func, rows, args[1:], kwargs))
        return result


def _rounded(first: Any, second: Any) -> tuple[Any, Any]:
    if isinstance(first, ScoredRows) and _is_state(second, first):
        return first, first.quantizer(second)
    if isinstance(second, ScoredRows) and _is_state(first, second):
        return second.quantizer(first), second
    return first, second


def _is_state(other: Any, rows: ScoredRows) -> bool:
    """Not a factor such as a mask, nor rows of another table, which are on a grid already."""
    if type(other) is not Tensor or rows.axis != -1:
        return False
    return other.is_floating_point() and other.shape == rows.shape


def _rounded_by_example(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    # Without dimensions for the example it is a layer's product: its matrix is no state.
    if min(first.dim(), second.dim()) < 3 or first.shape[:-2] != second.shape[:-2]:
        return first, second
    # Of two rows the left ones are the state, as where the whole table stands on the right.
    if isinstance(second, ScoredRows) and second.axis == -2:
        return second.quantizer(first.as_subclass(Tensor)), second
    if isinstance(first, ScoredRows) and first.axis == -1:
        return first, first.quantizer(second.as_subclass(Tensor).mT).mT
    return first, second


def _axis_after(func: Any, rows: ScoredRows, others: Any, kwargs: Any) -> int:
    """Where a view puts the rows' numbers: looked up on a tensor with one longer dimension."""
    marked = torch.empty([2 if at == rows.axis else 1 for at in range(-rows.dim(), 0)])
    shape = func(marked, *others, **kwargs).shape
    return list(shape).index(2) - len(shape)
