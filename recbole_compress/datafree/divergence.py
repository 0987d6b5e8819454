"""How far one model's distributions over all items are from another's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_compress.datafree.sequences import Reading
from recbole_compress.functional.cross_entropy import default_chunk_size
from recbole_compress.functional.full_precision import full_precision
from recbole_compress.functional.soft_targets import soft_target_loss
from recbole_compress.functional.sum_in_chunks import sum_in_chunks

__all__ = ["Candidates", "item_divergence"]


@dataclass(frozen=True)
class Candidates:
    """Items that stand for the catalogue: the teacher's best ones and a sample of the rest.

    Attributes:
        top: The teacher's best items, counted exactly.
        tail: Drawn uniformly from the catalogue per batch, each for as many as it stands for.
    """

    top: int
    tail: int


def item_divergence(
    student: Reading,
    teacher: Reading,
    n_items: int,
    temperature: float = 1.0,
    candidates: Candidates | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean KL divergence of the student's item distributions from the teacher's, in chunks.

    Without candidates it is :func:`~recbole_compress.functional.soft_targets.soft_target_loss`.
    With them the student's scores and all gradients are made for ``top + tail`` items per place:
    the teacher's probabilities are exact, the student's normalizer and the divergence's tail are
    estimates that are consistent in ``tail``; with ``top`` at the whole catalogue it is exact.

    Args:
        student: ``N`` places.
        teacher: The same places; gets no gradient.
        n_items: Catalogue size with the padding id.
        temperature: Softens both; above 0.
        candidates: None for all items.
        generator: Draws the tail; on the CPU.

    Returns:
        Scalar; 0 for no places.
    """
    # Scored outside autocast, whatever the states were made in.
    student, teacher = (r._replace(states=full_precision(r.states)) for r in (student, teacher))
    real = n_items - 1
    if candidates is None or candidates.top + candidates.tail >= real:
        return soft_target_loss(
            student.states,
            student.scores,
            student.tensors,
            lambda which: teacher.scores(teacher.states[which]),
            n_items,
            temperature,
        )
    if temperature <= 0:
        raise ValueError(f"temperature={temperature}: choose a number above 0")
    top, n_tail = candidates.top, candidates.tail
    device = student.states.device
    tail = torch.randint(1, n_items, (n_tail,), generator=generator).to(device)

    def divergence(which: slice, states: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = F.log_softmax(teacher.scores(teacher.states[which])[:, 1:] / temperature, 1)
            ids = wanted.topk(top, dim=1).indices + 1
            is_top = torch.zeros(len(ids), n_items, dtype=torch.bool, device=device)
            double = is_top.scatter_(1, ids, True)[:, tail]
            stands_for = (real - top) / (~double).sum(1, keepdim=True).clamp(min=1)
            weight = torch.cat([torch.ones_like(ids), stands_for * ~double], 1).float()
            ids = torch.cat([ids, tail.expand(len(ids), -1)], 1)
            wanted = wanted.gather(1, ids - 1)
        told = student.item_scores(states, ids) / temperature
        told = told - (told + weight.log()).logsumexp(1, keepdim=True)
        return (weight * wanted.exp() * (wanted - told)).sum()

    chunk = default_chunk_size(n_items, student.states.device)
    total = sum_in_chunks(divergence, [student.states], list(student.item_tensors), chunk)
    return temperature**2 * total / max(1, len(student.states))
