"""Sessions put together from two models: popular items as one sees them, rare ones as the other."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recbole_compress.backbones.readout import SoftAttentionReadout
from recbole_compress.functional.item_blocks import rank_by_frequency
from recbole_compress.functional.sequence_mask import sequence_mask

__all__ = ["Recombination", "Recombined", "Side", "Views", "hot_items"]


def hot_items(item_counts: Tensor, fraction: float) -> Tensor:
    """Which items are popular: the most frequent ``fraction`` of the catalogue, ties by id.

    Args:
        item_counts: How often the train split shows every item, ``(n_items,)``, id 0 is padding.
        fraction: From 0 to 1; of the items, not of the interactions.

    Returns:
        bool ``(n_items,)``; False for padding.

    Raises:
        ValueError: A fraction outside 0 .. 1.

    Example:
        >>> hot_items(torch.tensor([0, 3, 9, 1, 5, 2]), 0.4).tolist()
        [False, False, True, False, True, False]
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction={fraction}: choose a number from 0 to 1")
    rank = rank_by_frequency(item_counts)
    return (rank >= 0) & (rank < round(fraction * (len(item_counts) - 1)))


class Side(NamedTuple):
    """What one model says of a batch.

    Attributes:
        items: Vectors of the items read, straight from the table, ``(B, L, dim)``.
        sessions: State that the model scores items with, one per training target, ``(N, dim)``.
    """

    items: Tensor
    sessions: Tensor


class Views(NamedTuple):
    """Two views of the same sessions, a row each."""

    first: Tensor
    second: Tensor


class Recombined(NamedTuple):
    """The views that a batch gives.

    Attributes:
        kept: Which of the ``N`` targets have a session of two items or more, bool ``(N,)``.
        contrastive: Views of the kept ones, both ``(n, student_dim)``; None if not asked for.
        predictive: Views of the kept ones, ``(n, student_dim)`` and ``(n, teacher_dim)``; or None.
    """

    kept: Tensor
    contrastive: Views | None
    predictive: Views | None


class _Maps(nn.Module):
    """Two parts of a session -> one vector, for the first view and for the second."""

    def __init__(self, student_dim: int, teacher_dim: int, second_dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(student_dim + teacher_dim, student_dim, bias=False)
        self.second = nn.Linear(teacher_dim + student_dim, second_dim, bias=False)
        # What is not mixed goes over as it is, between models of one width.
        self.teacher_session = _bridge(teacher_dim, student_dim)
        self.student_session = _bridge(student_dim, second_dim)


def _bridge(before: int, after: int) -> nn.Module:
    return nn.Identity() if before == after else nn.Linear(before, after, bias=False)


class Recombination(nn.Module):
    """Embedding recombination: each view takes one part from the student, one from the teacher.

    A session's items are cut into hot (popular) and cold ones; each part is read by a soft
    attention of its own over the item vectors of either model, ``h_S, c_S, h_T, c_T``. Then::

        hot and cold items:    first = M [h_S ; c_T]    second = M' [h_T ; c_S]
        hot or cold only:      first = s_T              second = s_S

    with ``s`` the models' own session vectors. All weights here serve training only: they belong
    to neither model.

    Args:
        hot: Which items are popular, bool ``(n_items,)``, see :func:`hot_items`.
        student_dim: Width of the student's item and session vectors.
        teacher_dim: Width of the teacher's.
        contrastive: Make maps for the views of the contrastive task.
        predictive: Make maps for the views of the predictive task.

    Reference:
        OD-Rec: Xia et al., SIGIR 2022, arXiv:2204.11091. Differs from the released code: all maps
        and readouts are trained, the teacher's parts have readouts that are, and each part is
        where the definition has it (the code's arguments are in another order in one place).
    """

    hot: Tensor

    def __init__(
        self,
        hot: Tensor,
        student_dim: int,
        teacher_dim: int,
        contrastive: bool = True,
        predictive: bool = True,
    ) -> None:
        super().__init__()
        self.register_buffer("hot", hot, persistent=False)
        self.student_hot = SoftAttentionReadout(student_dim)
        self.student_cold = SoftAttentionReadout(student_dim)
        self.teacher_hot = SoftAttentionReadout(teacher_dim)
        self.teacher_cold = SoftAttentionReadout(teacher_dim)
        self.contrastive = _Maps(student_dim, teacher_dim, student_dim) if contrastive else None
        self.predictive = _Maps(student_dim, teacher_dim, teacher_dim) if predictive else None

    def forward(
        self,
        item_seq: Tensor,
        lengths: Tensor,
        trained: Tensor | None,
        student: Side,
        teacher: Side,
    ) -> Recombined:
        """The views of a batch's sessions.

        Args:
            item_seq: Right-padded item ids, ``(B, L)``.
            lengths: ``(B,)``.
            trained: The positions whose prefixes are the sessions, bool ``(B, L)`` with ``N``
                True; None for whole sequences, ``N = B``.
            student: The student's vectors; gradients go through them.
            teacher: The teacher's.
        """
        real = sequence_mask(lengths, item_seq.shape[1])
        hot, cold = self.hot[item_seq] & real, ~self.hot[item_seq] & real
        n_hot, n_cold = _counts(hot, trained), _counts(cold, trained)
        kept = n_hot + n_cold > 1
        mixed = ((n_hot > 0) & (n_cold > 0))[kept].unsqueeze(1)

        def part(readout: SoftAttentionReadout, items: Tensor, members: Tensor) -> Tensor:
            if trained is None:
                return readout.last(items, lengths, members)[kept]
            return readout(items, members)[trained][kept]

        of_first = torch.cat(
            [
                part(self.student_hot, student.items, hot),
                part(self.teacher_cold, teacher.items, cold),
            ],
            1,
        )
        of_second = torch.cat(
            [
                part(self.teacher_hot, teacher.items, hot),
                part(self.student_cold, student.items, cold),
            ],
            1,
        )

        def views(maps: _Maps | None) -> Views | None:
            if maps is None:
                return None
            return Views(
                torch.where(
                    mixed, maps.first(of_first), maps.teacher_session(teacher.sessions[kept])
                ),
                torch.where(
                    mixed, maps.second(of_second), maps.student_session(student.sessions[kept])
                ),
            )

        return Recombined(kept, views(self.contrastive), views(self.predictive))


def _counts(members: Tensor, trained: Tensor | None) -> Tensor:
    """How many of the members every session has."""
    return members.sum(1) if trained is None else members.cumsum(1)[trained]
