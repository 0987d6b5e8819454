"""Cross-entropy of a linear layer with many classes, without keeping its logits.

With thousands of items the product with the item table, its softmax and their gradients are
most of a training step, and the ``(targets, items)`` matrices most of its memory. Working
through the targets in chunks keeps one small buffer in cache for all three matrix products.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recbole_compress.functional.left_out import left_out
from recbole_compress.functional.saved_gradients import scaled_gradients

__all__ = ["default_chunk_size", "linear_cross_entropy"]

# 6 MiB of float32. Measured on cores with 1 and 2 MiB of L2: flat within 10 % from half to twice
# this size. Under 64 rows a chunk rereads the weight too often; with more than that, many classes
# overflow the cache.
_BUFFER_ELEMENTS = 3 * 2**19
# 256 MiB: an accelerator wants few large products, and has no cache to stay in.
_BUFFER_ELEMENTS_OF_ACCELERATORS = 2**26
# Below this a probability is close to underflow and its logarithm is computed from the logits.
_SMALL_PROBABILITY = 1e-30


def default_chunk_size(
    n_classes: int, device: torch.device | str = "cpu", itemsize: int = 4
) -> int:
    """Targets per chunk, fewer when there are more classes: 64 to 256, on accelerators to 4096.

    That is for float32. Products of bfloat16 take so little time that rereading the weight shows,
    so their chunks have four times the rows, on accelerators twice.

    Example:
        >>> [default_chunk_size(n) for n in (1_000, 12_101, 1_000_000)]
        [256, 128, 64]
        >>> [default_chunk_size(n, "cuda") for n in (1_000, 54_542, 1_000_000)]
        [4096, 1216, 64]
    """
    on_cpu = torch.device(device).type == "cpu"
    longer = 1 if itemsize > 2 else 4 if on_cpu else 2
    elements, most = (_BUFFER_ELEMENTS, 256) if on_cpu else (_BUFFER_ELEMENTS_OF_ACCELERATORS, 4096)
    rows = elements // max(n_classes, 1) // 32 * 32
    return min(max(rows, 64), most) * longer


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    *,
    first_class: int = 0,
    n_classes: int | None = None,
    excluded: Tensor | None = None,
    reduction: str = "mean",
    chunk_size: int | None = None,
) -> Tensor:
    """Exact cross-entropy of ``hidden @ weight.T + bias`` in bounded memory.

    Equals in value and in every gradient, without the ``(N, n_classes)`` matrices::

        logits = hidden @ weight[first_class:].T + bias[first_class:]
        logits[n, excluded[n] - first_class] = -torch.inf
        F.cross_entropy(logits, targets - first_class, reduction=reduction)

    except that the mean over no targets at all is 0 instead of NaN. The gradients are computed
    together with the loss, while a chunk's probabilities are in cache, so there is no second
    derivative. Half-precision inputs are computed in float32. Under autocast in bfloat16 logits
    and probabilities are bfloat16, as those of ``F.linear`` would be, and gradients are summed in
    float32; float16 tells small probabilities from nothing no more, and is not used.

    Args:
        hidden: ``(N, dim)``, floating.
        weight: ``(len, dim)``. Row ``j`` belongs to class ``j``.
        targets: ``(N,)``, integer, each in ``[first_class, len)``.
        bias: ``(len,)`` or None; entry ``j`` belongs to class ``j``, as in ``weight``.
        first_class: Rows below are no classes and get a gradient of exactly 0: with 1, row 0 can
            be a padding row.
        n_classes: Rows from ``first_class + n_classes`` on are no classes either; None for all. The
            same as passing ``weight[: first_class + n_classes]``, whose gradient would be copied.
        excluded: Classes that a row cannot be, besides, integer ``(N, E)``; what lies outside the
            classes excludes nothing. Its target must not be among them.
        reduction: ``"mean"`` or ``"sum"`` over the targets.
        chunk_size: Targets per chunk; the buffer holds ``chunk_size * n_classes`` numbers. None
            chooses by :func:`default_chunk_size`.

    Returns:
        Scalar, float32 (float64 if an input is).

    Raises:
        ValueError: A target outside the classes, shapes that do not fit, an unknown reduction
            or a chunk size below 1.
        RuntimeError: In the backward pass, when asked for a second derivative.

    Example:
        >>> hidden, weight = torch.zeros(2, 3), torch.zeros(5, 3)
        >>> linear_cross_entropy(hidden, weight, torch.tensor([1, 4]), first_class=1).exp()
        tensor(4.)
    """
    end = len(weight) if n_classes is None else first_class + n_classes
    _check(hidden, weight, targets, bias, first_class, end, excluded, reduction, chunk_size)
    parameters = (hidden, weight, bias)
    dtype = (
        torch.float64
        if any(p is not None and p.dtype == torch.float64 for p in parameters)
        else torch.float32
    )
    hidden, weight = hidden.to(dtype), weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    if chunk_size is None:
        itemsize = _product_dtype(hidden).itemsize
        chunk_size = default_chunk_size(end - first_class, hidden.device, itemsize)
    classes = slice(first_class, end)
    arguments = (hidden, weight, bias, targets.long(), classes, excluded, chunk_size)
    if torch.is_grad_enabled() and any(p is not None and p.requires_grad for p in parameters):
        total = _LinearCrossEntropy.apply(*arguments)
    else:
        total, *_ = _loss_and_gradients(*arguments, needs_grad=(False, False, False))
    return total / max(len(targets), 1) if reduction == "mean" else total


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of the losses; the forward pass already holds the gradients of that sum."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        classes: slice,
        excluded: Tensor | None,
        chunk_size: int,
    ) -> Tensor:
        total, *gradients = _loss_and_gradients(
            hidden, weight, bias, targets, classes, excluded, chunk_size, ctx.needs_input_grad[:3]
        )
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        refusal = (
            "linear_cross_entropy has no second derivative: leave create_graph=True out, "
            "or use F.cross_entropy(hidden @ weight.T, targets)"
        )
        return *scaled_gradients(ctx.saved_tensors, grad_output, refusal), None, None, None, None


def _loss_and_gradients(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    classes: slice,
    excluded: Tensor | None,
    chunk_size: int,
    needs_grad: tuple[bool, ...],
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Summed loss and its gradients with respect to hidden, weight and bias (None: not needed)."""
    dtype = _product_dtype(hidden)
    states = hidden.contiguous().to(dtype)
    rows_of_class = weight[classes].to(dtype)
    bias_of_class = None if bias is None else bias[classes].to(dtype)
    targets = (targets - classes.start).unsqueeze(1)
    excluded = None if excluded is None else excluded.long() - classes.start

    grad_hidden = torch.zeros_like(hidden) if needs_grad[0] else None
    # Laid out as the weight is: what a transposed table was built from takes its gradient so.
    grad_weight = torch.zeros_like(weight) if needs_grad[1] else None
    grad_bias = bias.new_zeros(bias.shape) if needs_grad[2] and bias is not None else None

    target_probability = hidden.new_empty(len(hidden), 1)
    buffer = states.new_empty(min(chunk_size, len(hidden)), len(rows_of_class))
    for start in range(0, len(hidden), chunk_size):
        chunk = slice(start, start + chunk_size)
        # One buffer in turn for logits, probabilities and the gradient of the logits.
        values = buffer[: len(states[chunk])]
        _logits(states[chunk], rows_of_class, bias_of_class, out=values)
        if excluded is not None:
            left_out(values, excluded[chunk])
        torch.softmax(values, dim=1, out=values)
        target_probability[chunk] = values.gather(1, targets[chunk])
        if not any(needs_grad):
            continue
        rows = torch.arange(len(values), device=values.device)
        values[rows, targets[chunk, 0]] = (target_probability[chunk, 0] - 1).to(dtype)
        if grad_hidden is not None:
            _add_product(grad_hidden[chunk], values, rows_of_class)
        if grad_weight is not None:
            _add_product(grad_weight[classes], values.T, states[chunk])
        if grad_bias is not None:
            grad_bias[classes] += values.sum(0, dtype=grad_bias.dtype)

    losses = -target_probability.log()
    underflown = (target_probability[:, 0] < _SMALL_PROBABILITY).nonzero()[:, 0]
    for rows in underflown.split(chunk_size) if len(underflown) else ():
        logits = _logits(states[rows], rows_of_class, bias_of_class, out=buffer[: len(rows)])
        if excluded is not None:
            left_out(logits, excluded[rows])
        losses[rows] = -logits.log_softmax(1, dtype=losses.dtype).gather(1, targets[rows])
    return losses.sum(), grad_hidden, grad_weight, grad_bias


def _product_dtype(hidden: Tensor) -> torch.dtype:
    """What products are made in: autocast's bfloat16 in place of float32, else their own."""
    device = hidden.device.type
    autocast = torch.is_autocast_enabled(device) and hidden.dtype == torch.float32
    if autocast and torch.get_autocast_dtype(device) == torch.bfloat16:
        return torch.bfloat16
    return hidden.dtype


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> Tensor:
    if bias is None:
        return torch.mm(hidden, weight.T, out=out)
    return torch.addmm(bias, hidden, weight.T, out=out)


def _add_product(total: Tensor, first: Tensor, second: Tensor) -> None:
    """``total += first @ second``, summed in the floats of ``total``."""
    if total.dtype == first.dtype:
        total.addmm_(first, second)  # in place, which autocast leaves alone
    else:
        total += first @ second


def _check(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    first_class: int,
    end: int,
    excluded: Tensor | None,
    reduction: str,
    chunk_size: int | None,
) -> None:
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction={reduction!r}: choose 'mean' or 'sum'")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size}: choose 1 or more, or None for the default")
    fits = hidden.dim() == weight.dim() == 2 and hidden.shape[1] == weight.shape[1]
    if not fits or targets.shape != hidden.shape[:1]:
        raise ValueError(
            f"hidden {tuple(hidden.shape)}, weight {tuple(weight.shape)}, targets "
            f"{tuple(targets.shape)}: expected (N, dim), (len, dim) and (N,)"
        )
    if excluded is not None and (excluded.dim() != 2 or len(excluded) != len(hidden)):
        raise ValueError(
            f"excluded {tuple(excluded.shape)}: expected classes for every row, ({len(hidden)}, E)"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"bias {tuple(bias.shape)}: expected one number per weight row, ({len(weight)},)"
        )
    if not first_class <= end <= len(weight):
        raise ValueError(
            f"first_class={first_class}, n_classes={end - first_class}: the weight has "
            f"{len(weight)} rows"
        )
    if len(targets) == 0:
        return
    lowest, highest = (int(bound) for bound in targets.aminmax())
    if lowest < first_class or highest >= end:
        raise ValueError(
            f"targets from {lowest} to {highest}: expected classes from {first_class} to {end - 1}"
        )
