"""Both views of a session are to tell the next item, each in the other model's space."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from recbole_compress.distillation.recombination import Views

__all__ = ["predictive_loss"]

Loss = Callable[[Tensor, Tensor], Tensor]


def predictive_loss(
    views: Views, targets: Tensor, student_loss: Loss, teacher_loss: Loss
) -> Tensor:
    """Cross-entropy of the first view over the student's items and the second over the teacher's.

    The views are scaled to length 1, the items are not, as published.

    Args:
        views: ``(N, student_dim)`` and ``(N, teacher_dim)``.
        targets: Item ids, ``(N,)``.
        student_loss: ``(hidden, targets) -> mean cross-entropy`` with the student's item scores.
        teacher_loss: The same with the teacher's; its weights are to be frozen.

    Example:
        >>> import torch
        >>> table = torch.eye(3)
        >>> loss = lambda hidden, targets: F.cross_entropy(hidden @ table.T, targets)
        >>> views = Views(9 * table, 5 * table)
        >>> round(predictive_loss(views, torch.arange(3), loss, loss).item(), 4)  # 2 * 0.5514
        1.1029
    """
    first = student_loss(F.normalize(views.first, dim=1), targets)
    return first + teacher_loss(F.normalize(views.second, dim=1), targets)
