"""PRecQ's two-level discrepancy: what both models say of items, and how they see the items."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["pointwise_discrepancy", "ranking_discrepancy", "similarity_discrepancy"]


def pointwise_discrepancy(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean binary cross-entropy of the student's scores against the teacher's as soft labels.

    ``-(p * log q + (1 - p) * log(1 - q)).mean()`` with ``p = sigmoid(teacher)``,
    ``q = sigmoid(student)``: L+ on synthesised next items, L- on items drawn at random.

    Args:
        student: Scores, any shape.
        teacher: Scores of the same items.

    Example:
        >>> pointwise_discrepancy(torch.zeros(3), torch.ones(3))
        tensor(0.6931)
    """
    return F.binary_cross_entropy_with_logits(student, teacher.sigmoid())


def ranking_discrepancy(student: Tensor) -> Tensor:
    """``-sum_m (1 / m) log sigmoid(score of the teacher's m-th best item)``, mean over places.

    Args:
        student: The student's scores of the teacher's best items, best first, ``(N, K)``.

    Returns:
        Scalar; 0 for no places.

    Reference:
        Ranking Distillation: Tang and Wang, KDD 2018.

    Example:
        >>> ranking_discrepancy(torch.zeros(4, 2))  # 1.5 * log(2)
        tensor(1.0397)
    """
    weight = 1 / torch.arange(1, student.shape[1] + 1, device=student.device)
    return -(F.logsigmoid(student) * weight).sum() / max(1, len(student))


def similarity_discrepancy(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of both models' cosine similarities, over all pairs of items.

    The paper's ``|| R_P - R_Q ||^2`` per pair, so that its weight means the same for any number of
    items. Each model may have its own width.

    Args:
        student: Item vectors, ``(n, dim)``.
        teacher: Vectors of the same items, ``(n, any dim)``.

    Returns:
        Scalar; 0 for fewer than two items.

    Example:
        >>> similarity_discrepancy(torch.eye(3), 5 * torch.eye(3))
        tensor(0.)
    """
    first, second = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    difference = (first @ first.T - second @ second.T).square().tril(-1)
    n = len(student)
    return difference.sum() / max(1, n * (n - 1) // 2)
