"""A sum over many rows whose intermediate results would not fit into memory together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from recbole_compress.functional.saved_gradients import scaled_gradients

__all__ = ["sum_in_chunks"]


def sum_in_chunks(
    function: Callable[..., Tensor],
    rows: Sequence[Tensor],
    shared: Sequence[Tensor],
    chunk_size: int,
) -> Tensor:
    """``function`` of all rows, computed ``chunk_size`` rows at a time.

    Equals ``function(slice(0, len(rows[0])), *rows)`` in value and in every gradient, for a
    function that is a sum over rows. The gradients are taken chunk by chunk together with the
    value, so nothing of a chunk outlives it, nothing is computed twice, and there is no second
    derivative. Autocast is off inside.

    Args:
        function: ``function(which, *rows_of_chunk) -> scalar``; ``which`` is the chunk's slice.
        rows: Tensors with one row per term, the same number each.
        shared: Everything else that the function uses and that wants a gradient.
        chunk_size: Rows at a time, 1 or more.

    Returns:
        Scalar; 0 for no rows.

    Raises:
        RuntimeError: In the backward pass, when asked for a second derivative.

    Example:
        >>> x, w = torch.arange(4.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
        >>> total = sum_in_chunks(lambda which, x: (w * x * x).sum(), [x], [w], chunk_size=3)
        >>> total.backward(); total, x.grad, w.grad
        (tensor(42., grad_fn=<_SumInChunksBackward>),
         tensor([ 0.,  6., 12., 18.]), tensor(14.))
    """
    needs_grad = torch.is_grad_enabled() and any(t.requires_grad for t in (*rows, *shared))
    if needs_grad:
        return _SumInChunks.apply(function, len(rows), chunk_size, *rows, *shared)
    nowhere = [False] * len(rows), [False] * len(shared)
    total, _ = _sum_and_gradients(function, rows, shared, chunk_size, *nowhere)
    return total


class _SumInChunks(torch.autograd.Function):
    """The forward pass already holds the gradients of the sum."""

    @staticmethod
    def forward(ctx: Any, function: Any, n_rows: int, chunk_size: int, *tensors: Tensor) -> Tensor:
        wanted = ctx.needs_input_grad[3:]
        total, gradients = _sum_and_gradients(
            function,
            tensors[:n_rows],
            tensors[n_rows:],
            chunk_size,
            wanted[:n_rows],
            wanted[n_rows:],
        )
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        refusal = "sum_in_chunks has no second derivative: leave create_graph=True out"
        return None, None, None, *scaled_gradients(ctx.saved_tensors, grad_output, refusal)


def _sum_and_gradients(
    function: Callable[..., Tensor],
    rows: Sequence[Tensor],
    shared: Sequence[Tensor],
    chunk_size: int,
    rows_wanted: Sequence[bool],
    shared_wanted: Sequence[bool],
) -> tuple[Tensor, list[Tensor | None]]:
    total = rows[0].new_zeros(())
    of_rows = [torch.zeros_like(t) if w else None for t, w in zip(rows, rows_wanted, strict=True)]
    asked = [t for t, wanted in zip(shared, shared_wanted, strict=True) if wanted]
    of_asked = [torch.zeros_like(t) for t in asked]
    differentiates = any(rows_wanted) or bool(asked)
    for start in range(0, len(rows[0]), chunk_size):
        which = slice(start, min(start + chunk_size, len(rows[0])))
        # The gradients too: a backward pass in autocast would be in short floats.
        with torch.autocast(rows[0].device.type, enabled=False):
            with torch.set_grad_enabled(differentiates):
                parts = [t[which].detach() for t in rows]
                for part, gradient in zip(parts, of_rows, strict=True):
                    part.requires_grad_(gradient is not None)
                value = function(which, *parts)
            total += value.detach()
            if not value.requires_grad:
                continue
            inputs = [part for part in parts if part.requires_grad]
            gradients = list(torch.autograd.grad(value, [*inputs, *asked], allow_unused=True))
        for gradient in of_rows:
            if gradient is not None and (found := gradients.pop(0)) is not None:
                gradient[which] = found
        for sum_so_far, found in zip(of_asked, gradients, strict=True):
            if found is not None:
                sum_so_far += found
    remaining = iter(of_asked)
    return total, [*of_rows, *(next(remaining) if wanted else None for wanted in shared_wanted)]
