"""Learning another model's distribution over all items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_compress.functional.cross_entropy import default_chunk_size
from recbole_compress.functional.full_precision import full_precision
from recbole_compress.functional.left_out import NOT_AMONG
from recbole_compress.functional.sum_in_chunks import sum_in_chunks

__all__ = ["soft_target_loss", "soft_targets_without", "weights_of_rows"]


def soft_target_loss(
    hidden: Tensor,
    student_scores: Callable[[Tensor], Tensor],
    student_tensors: Sequence[Tensor],
    teacher_scores: Callable[[slice], Tensor],
    n_items: int,
    temperature: float = 1.0,
    reduction: str = "mean",
    chunk_size: int | None = None,
    targets: Tensor | None = None,
    weights: tuple[float, float] = (1.0, 0.0),
) -> Tensor:
    """Kullback-Leibler divergence of the student's item distribution from the teacher's.

    Equals, without the ``(N, n_items)`` matrices::

        p = (teacher_scores(slice(0, N))[:, 1:] / temperature).softmax(1)
        q = (student_scores(hidden)[:, 1:] / temperature).softmax(1)
        temperature**2 * (p * (p / q).log()).sum(1).mean()

    It is 0 for equal scores, and for no rows. The square keeps the size of the gradients
    independent of the temperature (Hinton et al., 2015). With ``targets`` and weights ``(soft,
    hard)`` it is ``soft`` times that, plus ``hard`` times the mean cross-entropy from the same
    scores, which are computed once for both::

        soft * divergence + hard * F.cross_entropy(student_scores(hidden)[:, 1:], targets - 1)

    The gradient in the scores, the difference of the distributions, is written down while they
    are there; there is no second derivative.

    Args:
        hidden: The student's states, ``(N, dim)``.
        student_scores: ``(C, dim) -> (C, n_items)``; column 0, the padding id's, is left out.
        student_tensors: What the student's scores want gradients in, besides ``hidden``.
        teacher_scores: Slice of the rows -> ``(C, n_items)``; gets no gradient.
        n_items: Catalogue size with the padding id; sets the chunk.
        temperature: Above 1 the distributions become more even; above 0.
        reduction: ``"mean"`` or ``"sum"`` over the rows.
        chunk_size: Rows at a time; None chooses by the number of items.
        targets: Item ids for the cross-entropy, ``(N,)``, each from 1 on; None for without.
        weights: Of the divergence and of the cross-entropy, which ``reduction`` leaves a mean.

    Raises:
        ValueError: A temperature of 0 or below, an unknown reduction, or a weight for a
            cross-entropy without targets.

    Example:
        >>> hidden, table = torch.randn(3, 4), torch.randn(6, 4)
        >>> score = lambda hidden: hidden @ table.T
        >>> soft_target_loss(hidden, score, [], lambda rows: score(hidden[rows]), n_items=6)
        tensor(0.)
    """
    if temperature <= 0:
        raise ValueError(f"temperature={temperature}: choose a number above 0")
    soft, hard = weights_of_rows(len(hidden), reduction, targets, weights)
    hidden = full_precision(hidden)
    chunk_size, room = _room(hidden, n_items, chunk_size)

    def loss(which: slice, hidden: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = teacher_scores(which)
        of_chunk = None if targets is None or not hard else targets[which].unsqueeze(1)
        told = student_scores(hidden)
        return _Loss.apply(
            told, wanted, of_chunk, None, temperature, soft, hard, room[:, : len(told)]
        )

    return sum_in_chunks(loss, [hidden], list(student_tensors), chunk_size)


def soft_targets_without(
    hidden: Tensor,
    student_scores: Callable[[Tensor], Tensor],
    student_tensors: Sequence[Tensor],
    teacher_scores: Callable[[slice], Tensor],
    excluded: Tensor,
    n_items: int,
    chunk_size: int | None = None,
) -> tuple[Tensor, Tensor]:
    """What a divergence consists of besides some items, which a student has no choice of here.

    Equals, without the ``(N, n_items)`` matrices, for columns that there are::

        p = teacher_scores(slice(0, N))[:, 1:].softmax(1)
        q = left_out_(student_scores(hidden)[:, 1:], excluded - 1).log_softmax(1)
        (p * (p.log() - q)).scatter(1, excluded - 1, 0).sum(), p.gather(1, excluded - 1)

    Args:
        excluded: Item ids, ``(N, E)``, int64; 0 for none.

    Other arguments are those of :func:`soft_target_loss`.

    Returns:
        The sum over the rows, and the teacher's probability of every excluded item, ``(N, E)``,
        0 for none.

    Example:
        >>> none, alike = torch.tensor([[2, 0]]), lambda rows: torch.zeros(1, 5)
        >>> rest, shares = soft_targets_without(
        ...     torch.zeros(1, 2), lambda h: h @ torch.ones(2, 5), [], alike, none, n_items=5)
        >>> shares, rest  # three times 1/4 instead of 1/3
        (tensor([[0.2500, 0.0000]]), tensor(-0.2158))
    """
    hidden = full_precision(hidden)
    chunk_size, room = _room(hidden, n_items, chunk_size)
    shares = torch.zeros_like(excluded, dtype=hidden.dtype)

    def loss(which: slice, hidden: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = teacher_scores(which)
        told = student_scores(hidden)
        of_chunk = _Elsewhere(F.pad(excluded[which], (1, 0)), shares[which])
        return _Loss.apply(told, wanted, None, of_chunk, 1.0, 1.0, 0.0, room[:, : len(told)])

    return sum_in_chunks(loss, [hidden], list(student_tensors), chunk_size), shares


class _Elsewhere(NamedTuple):
    """Items of which something else is told.

    Attributes:
        columns: Theirs and that of padding, ``(C, 1 + E)``.
        shares: Gets the teacher's probability of each, ``(C, E)``.
    """

    columns: Tensor
    shares: Tensor


def _room(hidden: Tensor, n_items: int, chunk_size: int | None) -> tuple[int, Tensor]:
    """Rows at a time, and three matrices of so many."""
    chunk_size = chunk_size or default_chunk_size(n_items, hidden.device)
    return chunk_size, hidden.new_empty(3, min(chunk_size, len(hidden)), n_items)


def weights_of_rows(
    n: int, reduction: str, targets: Tensor | None, weights: tuple[float, float]
) -> tuple[float, float]:
    """What one of ``n`` rows weighs in the two parts of :func:`soft_target_loss`.

    Raises:
        ValueError: An unknown reduction, or a weight for a cross-entropy without targets.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction={reduction!r}: choose 'mean' or 'sum'")
    if targets is None and weights[1]:
        raise ValueError(f"weights={weights}: a cross-entropy needs targets; give them, or 0")
    n = max(1, n)
    return weights[0] / (n if reduction == "mean" else 1), weights[1] / n


class _Loss(torch.autograd.Function):
    """``soft * T**2 * KL + hard * CE``, summed over the rows of a chunk.

    Works in ``room``, three matrices like the scores that all chunks share: new ones for every
    step would cost more than the arithmetic in them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        wanted: Tensor,
        targets: Tensor | None,
        elsewhere: _Elsewhere | None,
        temperature: float,
        soft: float,
        hard: float,
        room: Tensor,
    ) -> Tensor:
        logits, p, q = room
        log_sum = _softmax(wanted, temperature, logits, out=p)
        mass, columns = torch.ones_like(log_sum), None
        if elsewhere is not None:
            columns = elsewhere.columns
            elsewhere.shares.copy_(p.gather(1, columns[:, 1:]))
            mass -= elsewhere.shares.sum(1)
            p.scatter_(1, columns, 0.0)
        divergence = logits.mul_(p).sum(1) - log_sum * mass
        log_sum = _softmax(scores, temperature, logits, out=q, without=columns)
        # One softmax serves both losses where they have the same temperature.
        told, of_targets = None, 0.0
        if targets is not None and temperature == 1:
            told, of_targets = log_sum - logits.gather(1, targets).squeeze(1), hard
        divergence -= logits.mul_(p).sum(1) - log_sum * mass
        slope = q.mul_((soft * temperature * mass + of_targets).unsqueeze(1))
        slope.sub_(p, alpha=soft * temperature)
        if targets is not None:
            if told is None:
                log_sum = _softmax(scores, 1.0, logits, out=p)
                told = log_sum - logits.gather(1, targets).squeeze(1)
                slope.add_(p, alpha=hard)
            slope.scatter_add_(1, targets, slope.new_full(targets.shape, -hard))
        total = soft * temperature**2 * divergence.sum()
        if told is not None:
            total += hard * told.sum()
        ctx.slope = slope
        return total

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        # Asked for once, before the next chunk needs the room.
        return ctx.slope.mul_(grad_output), None, None, None, None, None, None, None


def _softmax(
    scores: Tensor,
    temperature: float,
    logits: Tensor,
    out: Tensor,
    without: Tensor | None = None,
) -> Tensor:
    """Scores over the temperature into ``logits``, their softmax into ``out``, without padding.

    Returns:
        Logarithm of the sum of the exponentials, ``(C,)``.
    """
    torch.div(scores.detach(), temperature, out=logits)
    logits[:, 0] = NOT_AMONG
    if without is not None:
        logits.scatter_(1, without, NOT_AMONG)
    torch.softmax(logits, 1, out=out)
    return logits.amax(1) - out.amax(1).log()
