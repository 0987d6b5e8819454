"""Learning another model's distribution over all items."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_compress.functional.cross_entropy import default_chunk_size
from recbole_compress.functional.sum_in_chunks import sum_in_chunks

__all__ = ["soft_target_loss"]


def soft_target_loss(
    hidden: Tensor,
    student_scores: Callable[[Tensor], Tensor],
    student_tensors: Sequence[Tensor],
    teacher_scores: Callable[[slice], Tensor],
    n_items: int,
    temperature: float = 1.0,
    reduction: str = "mean",
    chunk_size: int | None = None,
) -> Tensor:
    """Kullback-Leibler divergence of the student's item distribution from the teacher's.

    Equals, without the ``(N, n_items)`` matrices::

        p = (teacher_scores(slice(0, N))[:, 1:] / temperature).softmax(1)
        q = (student_scores(hidden)[:, 1:] / temperature).softmax(1)
        temperature**2 * (p * (p / q).log()).sum(1).mean()

    It is 0 for equal scores, and for no rows. The square keeps the size of the gradients
    independent of the temperature (Hinton et al., 2015).

    Args:
        hidden: The student's states, ``(N, dim)``.
        student_scores: ``(C, dim) -> (C, n_items)``; column 0, the padding id's, is left out.
        student_tensors: What the student's scores want gradients in, besides ``hidden``.
        teacher_scores: Slice of the rows -> ``(C, n_items)``; gets no gradient.
        n_items: Catalogue size with the padding id; sets the chunk.
        temperature: Above 1 the distributions become more even; above 0.
        reduction: ``"mean"`` or ``"sum"`` over the rows.
        chunk_size: Rows at a time; None chooses by the number of items.

    Raises:
        ValueError: A temperature of 0 or below, or an unknown reduction.

    Example:
        >>> hidden, table = torch.randn(3, 4), torch.randn(6, 4)
        >>> score = lambda hidden: hidden @ table.T
        >>> soft_target_loss(hidden, score, [], lambda rows: score(hidden[rows]), n_items=6)
        tensor(0.)
    """
    if temperature <= 0:
        raise ValueError(f"temperature={temperature}: choose a number above 0")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction={reduction!r}: choose 'mean' or 'sum'")

    def divergence(which: slice, hidden: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = F.log_softmax(teacher_scores(which)[:, 1:] / temperature, 1)
        told = F.log_softmax(student_scores(hidden)[:, 1:] / temperature, 1)
        return F.kl_div(told, wanted, reduction="sum", log_target=True)

    hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    chunk_size = chunk_size or default_chunk_size(n_items)
    total = temperature**2 * sum_in_chunks(divergence, [hidden], list(student_tensors), chunk_size)
    return total / max(1, len(hidden)) if reduction == "mean" else total
