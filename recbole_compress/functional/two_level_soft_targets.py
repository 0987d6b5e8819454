"""Teaching the two-level softmax another model's distribution, block by block.

The cross-entropy between a distribution ``t`` over all items and the two-level softmax falls apart
as the softmax does: popular items and cluster tokens against what ``t`` gives to them, and every
tail's items against what ``t`` gives to those. Each part is a linear layer behind a softmax, so
its gradient is the difference of two distributions, and a tail is only as wide as its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from recbole_compress.functional.cross_entropy import default_chunk_size
from recbole_compress.functional.full_precision import full_precision
from recbole_compress.functional.left_out import left_out_, taken_out_
from recbole_compress.functional.saved_gradients import scaled_gradients
from recbole_compress.functional.two_level import left_out_of_first_level

__all__ = ["two_level_soft_targets_without", "two_level_soft_targets"]


def two_level_soft_targets(
    hidden: Tensor,
    head_weight: Tensor,
    tails: Sequence[tuple[Tensor, Tensor]],
    wanted: Callable[[slice], Tensor],
    ranks: Tensor | None = None,
    weights: tuple[float, float] = (1.0, 0.0),
    chunk_size: int | None = None,
) -> Tensor:
    """Sum over the rows of ``soft`` times a divergence plus ``hard`` times a cross-entropy.

    Equals in value and in every gradient, without the ``(N, n_items)`` matrices::

        q = two_level_log_softmax(hidden, head_weight, tails)
        p = wanted(slice(0, N)).log_softmax(1)
        soft * (p.exp() * (p - q)).sum() - hard * q.gather(1, ranks[:, None]).sum()

    The gradients are computed together with the value; there is no second derivative. Autocast is
    off inside, and half-precision inputs are computed in float32.

    Args:
        hidden: ``(N, dim)``.
        head_weight: ``(n_head + len(tails), dim)``, popular items first, then one token per tail.
        tails: Projection ``(tail_dim, dim)`` and weight ``(tail_size, tail_dim)`` per tail.
        wanted: Slice of the rows -> the teacher's scores by rank, ``(C, n_items)``, a fresh tensor
            that is written into; gets no gradient.
        ranks: Of the targets of the cross-entropy, ``(N,)``, int64; None for without.
        weights: ``(soft, hard)``.
        chunk_size: Rows at a time; None chooses by the number of items.

    Returns:
        Scalar; 0 for no rows.

    Raises:
        RuntimeError: In the backward pass, when asked for a second derivative.

    Example:
        >>> from recbole_compress.functional.two_level import two_level_log_softmax
        >>> tails = [(torch.randn(1, 2), torch.randn(4, 1))]
        >>> hidden, head_weight = torch.randn(3, 2), torch.randn(2, 2)
        >>> same = two_level_log_softmax(hidden, head_weight, tails)
        >>> bool(two_level_soft_targets(hidden, head_weight, tails, lambda rows: same[rows]) < 1e-5)
        True
    """
    none = torch.empty(len(hidden), 0, dtype=torch.long, device=hidden.device)
    return _applied(hidden, head_weight, tails, wanted, ranks, none, weights, chunk_size)[0]


def two_level_soft_targets_without(
    hidden: Tensor,
    head_weight: Tensor,
    tails: Sequence[tuple[Tensor, Tensor]],
    wanted: Callable[[slice], Tensor],
    excluded: Tensor,
    chunk_size: int | None = None,
) -> tuple[Tensor, Tensor]:
    """What a divergence consists of besides some items, which a student has no choice of here.

    Equals, for columns that there are::

        q = two_level_log_softmax(hidden, head_weight, tails, excluded)
        p = wanted(slice(0, N)).softmax(1)
        (p * (p.log() - q)).scatter(1, excluded, 0).sum(), p.gather(1, excluded)

    Args:
        excluded: Ranks, ``(N, E)``, int64, each once; -1 for none.

    Other arguments are those of :func:`two_level_soft_targets`.

    Returns:
        The sum over the rows, and the teacher's probability of every excluded item, ``(N, E)``,
        0 for none.

    Example:
        >>> tails, alike = [(torch.zeros(1, 2), torch.zeros(3, 1))], lambda rows: torch.zeros(1, 4)
        >>> rest, shares = two_level_soft_targets_without(
        ...     torch.zeros(1, 2), torch.zeros(2, 2), tails, alike, torch.tensor([[0, 3, -1]]))
        >>> shares, rest  # twice 1/4 instead of 1/2
        (tensor([[0.2500, 0.2500, 0.0000]]), tensor(-0.3466))
    """
    return _applied(hidden, head_weight, tails, wanted, None, excluded, (1.0, 0.0), chunk_size)


def _applied(
    hidden: Tensor,
    head_weight: Tensor,
    tails: Sequence[tuple[Tensor, Tensor]],
    wanted: Callable[[slice], Tensor],
    ranks: Tensor | None,
    excluded: Tensor,
    weights: tuple[float, float],
    chunk_size: int | None,
) -> tuple[Tensor, Tensor]:
    n_items = len(head_weight) - len(tails) + sum(len(weight) for _, weight in tails)
    chunk_size = chunk_size or default_chunk_size(n_items, hidden.device)
    factors = [factor for tail in tails for factor in tail]
    tensors = [full_precision(x) for x in (hidden, head_weight, *factors)]
    # A forward pass of one's own still runs in the autocast around it.
    with torch.autocast(hidden.device.type, enabled=False):
        return _SoftTargets.apply(wanted, ranks, excluded, weights, chunk_size, *tensors)


class _SoftTargets(torch.autograd.Function):
    """The forward pass already holds the gradients of the sum."""

    @staticmethod
    def forward(
        ctx: Any,
        wanted: Callable[[slice], Tensor],
        ranks: Tensor | None,
        excluded: Tensor,
        weights: tuple[float, float],
        chunk_size: int,
        hidden: Tensor,
        head_weight: Tensor,
        *factors: Tensor,
    ) -> tuple[Tensor, Tensor]:
        gradients = [torch.zeros_like(t) for t in (hidden, head_weight, *factors)]
        of_hidden, of_head, *of_factors = gradients
        total, shares = hidden.new_zeros(()), hidden.new_zeros(excluded.shape)
        for start in range(0, len(hidden), chunk_size):
            rows = slice(start, start + chunk_size)
            of_chunk = None if ranks is None else ranks[rows].unsqueeze(1)
            out = excluded[rows]
            told, entropy, shares[rows] = _mixed(wanted(rows), of_chunk, out, weights)
            total += _cross_entropy(
                told, hidden[rows], head_weight, factors, out, of_hidden[rows], of_head, of_factors
            )
            total -= entropy
        ctx.save_for_backward(*gradients)
        ctx.mark_non_differentiable(shares)
        return total, shares

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        refusal = "two_level_soft_targets has no second derivative: leave create_graph=True out"
        of_tensors = scaled_gradients(ctx.saved_tensors, grad_output, refusal)
        return None, None, None, None, None, *of_tensors


def _mixed(
    scores: Tensor,
    ranks: Tensor | None,
    excluded: Tensor,
    weights: tuple[float, float],
) -> tuple[Tensor, Tensor, Tensor]:
    """What each row is to learn, ``soft`` of the teacher's distribution and ``hard`` of the target.

    Returns:
        That, ``(C, n_items)``; what a perfect student's soft part would come to; and what the
        teacher gives to the excluded items, ``(C, E)``.
    """
    soft, hard = weights
    told = torch.softmax(scores, 1)
    log_sum = scores.amax(1) - told.amax(1).log()
    elsewhere = taken_out_(told, excluded)
    mass = 1 - elsewhere.sum(1)
    entropy = soft * ((log_sum * mass).sum() - scores.mul_(told).sum())
    told.mul_(soft)
    if ranks is not None:
        told.scatter_add_(1, ranks, told.new_full(ranks.shape, hard))
    return told, entropy, elsewhere


def _cross_entropy(
    told: Tensor,
    hidden: Tensor,
    head_weight: Tensor,
    factors: Sequence[Tensor],
    excluded: Tensor,
    of_hidden: Tensor,
    of_head: Tensor,
    of_factors: Sequence[Tensor],
) -> Tensor:
    """Cross-entropy of the two-level softmax for what is told, ``(C, n_items)``.

    Adds its gradients to ``of_hidden``, ``of_head`` and ``of_factors``.
    """
    sizes = [len(weight) for weight in factors[1::2]]
    start = len(head_weight) - len(sizes)
    popular, *rest = told.split([start, *sizes], dim=1)
    masses = [part.sum(1, keepdim=True) for part in rest]
    first_level = torch.cat([popular, *masses], 1)
    mass = first_level.sum(1, keepdim=True)
    first_out = left_out_of_first_level(excluded, start, sizes)
    total, slope = _of_one_softmax(hidden, head_weight, first_level, mass, first_out)
    of_hidden.addmm_(slope, head_weight)
    of_head.addmm_(slope.T, hidden)
    for i, (part, mass) in enumerate(zip(rest, masses, strict=True)):
        projection, weight = factors[2 * i : 2 * i + 2]
        narrow = hidden @ projection.T
        value, slope = _of_one_softmax(narrow, weight, part, mass, excluded - start)
        total += value
        start += len(weight)
        of_factors[2 * i + 1].addmm_(slope.T, narrow)
        of_narrow = slope @ weight
        of_factors[2 * i].addmm_(of_narrow.T, hidden)
        of_hidden.addmm_(of_narrow, projection)
    return total


def _of_one_softmax(
    states: Tensor, weight: Tensor, told: Tensor, mass: Tensor, excluded: Tensor
) -> tuple[Tensor, Tensor]:
    """``-(told * log_softmax(states @ weight.T)).sum()`` and its gradient in the logits.

    Args:
        mass: Sum of every row of ``told``, ``(C, 1)``.
        excluded: Classes that the softmax leaves out, of which nothing is told.
    """
    logits = left_out_(states @ weight.T, excluded)
    best = logits.amax(1)
    slope = torch.softmax(logits, 1, out=logits)
    log_sum = best - slope.amax(1).log()
    # The sum of told * logits, whose matrices are many times as wide as these.
    agreement = torch.sum(told @ weight * states)
    return torch.dot(mass[:, 0], log_sum) - agreement, slope.mul_(mass).sub_(told)
