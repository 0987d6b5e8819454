"""Cross-entropy of a linear layer with many classes, without keeping its logits.

With thousands of items the product with the item table, its softmax and their gradients are
most of a training step, and the ``(targets, items)`` matrices most of its memory. Working
through the targets in chunks keeps one small buffer in cache for all three matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from recbole_compress.functional.cross_entropy_checks import (
    check,
    check_chunks,
    check_shapes,
    check_targets,
)
from recbole_compress.functional.left_out import left_out_
from recbole_compress.functional.saved_gradients import scaled_gradients

__all__ = ["blockwise_cross_entropy", "default_chunk_size", "linear_cross_entropy"]

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
    check(hidden, weight, targets, bias, first_class, end, excluded, reduction, chunk_size)
    targets = targets - first_class
    excluded = None if excluded is None else excluded - first_class
    classes = [slice(first_class, end)]
    total = _total([hidden], [weight], classes, targets, excluded, chunk_size, bias)
    return total / max(len(targets), 1) if reduction == "mean" else total


def blockwise_cross_entropy(
    hidden: Sequence[Tensor],
    weights: Sequence[Tensor],
    targets: Tensor,
    *,
    excluded: Tensor | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """Mean cross-entropy where blocks of classes are scored by states of their own widths.

    Equals in value and in every gradient, without the matrices of all classes::

        logits = torch.cat([h @ w.T for h, w in zip(hidden, weights)], 1)
        logits[n, excluded[n]] = -torch.inf
        F.cross_entropy(logits, targets)

    A block that is narrow takes as much less time; else this is :func:`linear_cross_entropy`.

    Args:
        hidden: Of every block, ``(N, width)``, floating.
        weights: Of every block, ``(classes, width)``; the classes of a block follow those of the
            block before.
        targets: ``(N,)``, integer, counted over all blocks.
        excluded: Classes that a row cannot be, counted likewise, integer ``(N, E)``.
        chunk_size: See :func:`linear_cross_entropy`.

    Returns:
        Scalar, float32 (float64 if an input is).

    Raises:
        ValueError, RuntimeError: As :func:`linear_cross_entropy`.

    Example:
        >>> hidden = [torch.zeros(2, 4), torch.zeros(2, 1)]
        >>> weights = [torch.zeros(3, 4), torch.zeros(5, 1)]
        >>> blockwise_cross_entropy(hidden, weights, torch.tensor([0, 7])).exp()
        tensor(8.)
    """
    if len(hidden) != len(weights):
        raise ValueError(f"{len(hidden)} hidden and {len(weights)} weights: expected as many")
    for states, weight in zip(hidden, weights, strict=True):
        check_shapes(states, weight, targets)
    check_chunks(len(targets), excluded, chunk_size)
    check_targets(targets, 0, sum(len(weight) for weight in weights))
    classes = [slice(0, len(weight)) for weight in weights]
    return _total(hidden, weights, classes, targets, excluded, chunk_size) / max(len(targets), 1)


def _total(
    hidden: Sequence[Tensor],
    weights: Sequence[Tensor],
    classes: Sequence[slice],
    targets: Tensor,
    excluded: Tensor | None,
    chunk_size: int | None,
    bias: Tensor | None = None,
) -> Tensor:
    """Sum of the losses.

    Args:
        hidden, weights: Of every block.
        classes: Of every block the rows of its weight that are classes; targets and what is
            excluded are counted over these.
        bias: As long as the weight, if there is one block.
    """
    parameters = [p for p in (bias, *hidden, *weights) if p is not None]
    doubled = any(p.dtype == torch.float64 for p in parameters)
    dtype = torch.float64 if doubled else torch.float32
    bias = None if bias is None else bias.to(dtype)
    tensors = [p.to(dtype) for p in (*hidden, *weights)]
    if chunk_size is None:
        n_classes = sum(rows.stop - rows.start for rows in classes)
        itemsize = _product_dtype(tensors[0]).itemsize
        chunk_size = default_chunk_size(n_classes, targets.device, itemsize)
    targets = targets.long()
    if torch.is_grad_enabled() and any(p.requires_grad for p in parameters):
        return _CrossEntropy.apply(classes, targets, excluded, chunk_size, bias, *tensors)
    no_gradients = [False] * (1 + len(tensors))
    return _loss_and_gradients(
        classes, targets, excluded, chunk_size, bias, *tensors, needs_grad=no_gradients
    )[0]


class _CrossEntropy(torch.autograd.Function):
    """Sum of the losses; the forward pass already holds the gradients of that sum."""

    @staticmethod
    def forward(
        ctx: Any,
        classes: Sequence[slice],
        targets: Tensor,
        excluded: Tensor | None,
        chunk_size: int,
        bias: Tensor | None,
        *tensors: Tensor,
    ) -> Tensor:
        needed = ctx.needs_input_grad[4:]
        total, gradients = _loss_and_gradients(
            classes, targets, excluded, chunk_size, bias, *tensors, needs_grad=needed
        )
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        refusal = (
            "linear_cross_entropy has no second derivative: leave create_graph=True out, "
            "or use F.cross_entropy(hidden @ weight.T, targets)"
        )
        gradients = scaled_gradients(ctx.saved_tensors, grad_output, refusal)
        return None, None, None, None, *gradients


class _Block:
    """Classes that are scored by one product, and the gradients of its two sides.

    Args:
        hidden: ``(N, width)``.
        weight: ``(len, width)``.
        classes: Which of its rows.
        columns: Where their logits stand among all.
        needs_grad: Whether either side wants one.
    """

    def __init__(
        self,
        hidden: Tensor,
        weight: Tensor,
        classes: slice,
        columns: slice,
        needs_grad: tuple[bool, bool],
    ) -> None:
        dtype = _product_dtype(hidden)
        self.states = hidden.contiguous().to(dtype)
        self.rows = weight[classes].to(dtype)
        self.columns = columns
        self.grad_hidden = torch.zeros_like(hidden) if needs_grad[0] else None
        # Laid out as the weight is: what a transposed table was built from takes its gradient so.
        self.grad_weight = torch.zeros_like(weight) if needs_grad[1] else None
        self._grad_rows = None if self.grad_weight is None else self.grad_weight[classes]

    def write_logits(self, which: slice | Tensor, bias: Tensor | None, out: Tensor) -> None:
        states, out = self.states[which], out[:, self.columns]
        if bias is None:
            torch.mm(states, self.rows.T, out=out)
        else:
            torch.addmm(bias[self.columns], states, self.rows.T, out=out)

    def add_gradients(self, which: slice, of_logits: Tensor) -> None:
        of_logits = of_logits[:, self.columns]
        if self.grad_hidden is not None:
            _add_product(self.grad_hidden[which], of_logits, self.rows)
        if self._grad_rows is not None:
            _add_product(self._grad_rows, of_logits.T, self.states[which])


def _blocks(
    classes: Sequence[slice], tensors: Sequence[Tensor], needs_grad: Sequence[bool]
) -> list[_Block]:
    n = len(classes)
    ends = accumulate((rows.stop - rows.start for rows in classes), initial=0)
    columns = [slice(*pair) for pair in pairwise(ends)]
    needs = zip(needs_grad[:n], needs_grad[n:], strict=True)
    parts = zip(tensors[:n], tensors[n:], classes, columns, needs, strict=True)
    return [_Block(*part) for part in parts]


def _loss_and_gradients(
    classes: Sequence[slice],
    targets: Tensor,
    excluded: Tensor | None,
    chunk_size: int,
    bias: Tensor | None,
    *tensors: Tensor,
    needs_grad: Sequence[bool],
) -> tuple[Tensor, list[Tensor | None]]:
    """Summed loss; its gradients with respect to bias, hidden and weights (None: not needed)."""
    blocks = _blocks(classes, tensors, needs_grad[1:])
    dtype = blocks[0].states.dtype
    excluded = None if excluded is None else excluded.long()
    targets = targets.unsqueeze(1)
    grad_bias = torch.zeros_like(bias) if needs_grad[0] and bias is not None else None
    bias_of_class = None if bias is None else bias[classes[0]].to(dtype)

    def logits(which: slice | Tensor, out: Tensor) -> Tensor:
        for block in blocks:
            block.write_logits(which, bias_of_class, out)
        return out if excluded is None else left_out_(out, excluded[which])

    n = len(targets)
    target_probability = tensors[0].new_empty(n, 1)
    buffer = blocks[0].states.new_empty(min(chunk_size, n), blocks[-1].columns.stop)
    for start in range(0, n, chunk_size):
        chunk = slice(start, start + chunk_size)
        # One buffer in turn for logits, probabilities and the gradient of the logits.
        values = logits(chunk, buffer[: len(targets[chunk])])
        torch.softmax(values, dim=1, out=values)
        target_probability[chunk] = values.gather(1, targets[chunk])
        if not any(needs_grad):
            continue
        rows = torch.arange(len(values), device=values.device)
        values[rows, targets[chunk, 0]] = (target_probability[chunk, 0] - 1).to(dtype)
        for block in blocks:
            block.add_gradients(chunk, values)
        if grad_bias is not None:
            grad_bias[classes[0]] += values.sum(0, dtype=grad_bias.dtype)

    losses = -target_probability.log()
    underflown = (target_probability[:, 0] < _SMALL_PROBABILITY).nonzero()[:, 0]
    for rows in underflown.split(chunk_size) if len(underflown) else ():
        values = logits(rows, buffer[: len(rows)])
        losses[rows] = -values.log_softmax(1, dtype=losses.dtype).gather(1, targets[rows])
    gradients = [block.grad_hidden for block in blocks] + [block.grad_weight for block in blocks]
    return losses.sum(), [grad_bias, *gradients]


def _product_dtype(hidden: Tensor) -> torch.dtype:
    """What products are made in: autocast's bfloat16 in place of float32, else their own."""
    device = hidden.device.type
    autocast = torch.is_autocast_enabled(device) and hidden.dtype == torch.float32
    if autocast and torch.get_autocast_dtype(device) == torch.bfloat16:
        return torch.bfloat16
    return hidden.dtype


def _add_product(total: Tensor, first: Tensor, second: Tensor) -> None:
    """``total += first @ second``, summed in the floats of ``total``."""
    if total.dtype == first.dtype:
        total.addmm_(first, second)  # in place, which autocast leaves alone
    else:
        total += first @ second
