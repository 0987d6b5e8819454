"""A table that rounds whatever it is multiplied with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_compress.quantization.scored_rows import KEEP_THE_GRID, ScoredRows

__all__ = ["ScoringTable"]

_PRODUCTS = {
    torch.matmul,
    torch.mm,
    F.linear,
    Tensor.matmul,
    Tensor.mm,
    Tensor.__matmul__,
    Tensor.__rmatmul__,
}
# What leaves a table one: other views and orders of its numbers.
_VIEWS = {
    torch.transpose,
    torch.t,
    torch.permute,
    Tensor.transpose,
    Tensor.t,
    Tensor.permute,
    Tensor.contiguous,
    Tensor.T.__get__,  # type: ignore[attr-defined]
    Tensor.mT.__get__,  # type: ignore[attr-defined]
    Tensor.__getitem__,
}
_STAYS_ONE = _VIEWS | KEEP_THE_GRID


class ScoringTable(torch.Tensor):
    """The weight of an embedding, where scoring multiplies hidden states with it.

    RecBole's models write ``torch.matmul(hidden, self.item_embedding.weight.transpose(0, 1))``:
    there is no module at whose door the hidden states could be rounded. So the weight does it, in
    products and nowhere else; its views do it too, and what a ReLU or a normalisation makes of it.
    Rows that are looked up one per example, to be scored, go on doing it
    (:class:`~recbole_compress.quantization.scored_rows.ScoredRows`). In everything else it is a
    plain tensor, and so is what comes out.

    Example:
        >>> from recbole_compress.quantization.activations import ActivationQuantizer
        >>> table = ScoringTable.of(torch.eye(2), ActivationQuantizer(2))
        >>> torch.matmul(torch.tensor([[9.0, 1.0]]), table.transpose(0, 1))
        tensor([[9., 0.]])
        >>> type(table + 1).__name__
        'Tensor'
    """

    quantizer: nn.Module

    @classmethod
    def of(cls, table: Tensor, quantizer: nn.Module) -> ScoringTable:
        """``table``, with what rounds the other factor of its products."""
        view = table.as_subclass(cls)
        view.quantizer = quantizer
        return view

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tuple(args), kwargs or {}
        if func in _PRODUCTS and len(args) >= 2:
            args = _rounded(func, *args)
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        if func in _STAYS_ONE and isinstance(args[0], ScoringTable) and _keeps_rows(func, args):
            return cls.of(result, args[0].quantizer)
        if func is F.embedding and isinstance(args[1], ScoringTable) and args[0].dim() == 1:
            return ScoredRows.of(result, args[1].quantizer)
        return result


def _rounded(func: Any, first: Any, second: Any, *others: Any) -> tuple[Any, ...]:
    first, second = _no_rows(first), _no_rows(second)
    left, right = isinstance(first, ScoringTable), isinstance(second, ScoringTable)
    if right and not left:
        # Of `__rmatmul__` the second argument stands on the left.
        rows_last = func is Tensor.__rmatmul__
        quantizer = second.quantizer
        first = quantizer(first.mT).mT if rows_last else quantizer(first)
    elif left and not right and second.dim() > 1:
        rows_first = func is Tensor.__rmatmul__
        second = first.quantizer(second) if rows_first else first.quantizer(second.mT).mT
    elif left and not right:
        second = first.quantizer(second)
    return first, second, *others


def _no_rows(factor: Any) -> Any:
    """Rows of another table are states here, which round nothing themselves."""
    return factor.as_subclass(Tensor) if isinstance(factor, ScoredRows) else factor


def _keeps_rows(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether an index, if it is one, only cuts off rows or columns."""
    if func is not Tensor.__getitem__:
        return True
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    return all(isinstance(part, slice) for part in index)
