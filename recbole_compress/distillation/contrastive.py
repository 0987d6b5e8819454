"""Two views of one session are to be more alike than views of different sessions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_compress.functional.cross_entropy import default_chunk_size
from recbole_compress.functional.full_precision import full_precision
from recbole_compress.functional.sum_in_chunks import sum_in_chunks

__all__ = ["info_nce"]


def info_nce(
    first: Tensor,
    second: Tensor,
    temperature: float = 0.2,
    groups: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """InfoNCE from ``first`` to ``second``, by cosine, with the other rows as negatives.

    Without groups equals::

        cosine = F.normalize(first) @ F.normalize(second).T
        F.cross_entropy(cosine / temperature, torch.arange(N))

    Args:
        first: ``(N, dim)``.
        second: ``(N, dim)``; row ``i`` is the other view of row ``i``.
        temperature: Above 0.
        groups: ``(N,)``, integer: rows of one group, such as prefixes of one sequence, are no
            negatives of each other.
        reduction: ``"mean"`` or ``"sum"`` over the rows.

    Returns:
        Scalar; 0 for no rows.

    Raises:
        ValueError: A temperature of 0 or below, or an unknown reduction.

    Example:
        >>> views = torch.eye(3)
        >>> round(info_nce(views, views, temperature=1.0).item(), 4)
        0.5514
        >>> info_nce(views, views, groups=torch.tensor([7, 7, 7]))
        tensor(0.)
    """
    if temperature <= 0:
        raise ValueError(f"temperature={temperature}: choose a number above 0")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction={reduction!r}: choose 'mean' or 'sum'")
    first, second = (F.normalize(full_precision(view), dim=1) for view in (first, second))
    own = torch.arange(len(first), device=first.device)

    def loss(which: slice, first: Tensor) -> Tensor:
        logits = first @ second.T / temperature
        if groups is not None:
            same = groups[which].unsqueeze(1) == groups
            no_negatives = same & (own[which].unsqueeze(1) != own)
            logits = logits.masked_fill(no_negatives, -torch.inf)
        return F.cross_entropy(logits, own[which], reduction="sum")

    chunk = default_chunk_size(len(first), first.device)
    total = sum_in_chunks(loss, [first], [second], chunk)
    return total / max(1, len(first)) if reduction == "mean" else total
