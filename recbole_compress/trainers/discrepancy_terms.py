"""PRecQ's losses of a student beside a teacher on given sequences."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from recbole_compress.datafree import (
    Places,
    Reading,
    Sequences,
    pointwise_discrepancy,
    ranking_discrepancy,
    similarity_discrepancy,
)
from recbole_compress.functional.cross_entropy import default_chunk_size
from recbole_compress.functional.sum_in_chunks import sum_in_chunks
from recbole_compress.readers import SequenceReader
from recbole_compress.trainers.datafree_settings import Discrepancy

__all__ = ["Output", "output_level", "similarity_level"]


class Output(NamedTuple):
    """The output level of the discrepancy, weighted, and the scores of the synthesised items.

    Attributes:
        parts: ``L+``, and ``L-`` and ``L_RD`` where their weights are above 0.
        student: Scores of the next items, ``(N, 1)``.
        teacher: The same.
    """

    parts: list[Tensor]
    student: Tensor
    teacher: Tensor


def output_level(
    student: Reading,
    teacher: Reading,
    places: Places,
    sequences: Sequences,
    n_items: int,
    weights: Discrepancy,
) -> Output:
    """How differently both score the next items, items drawn at random, and the teacher's best.

    Args:
        student: At ``places``, which are those that a next item follows.
        teacher: The same.
        places: ``N`` of them.
        sequences: What the places lie in.
        n_items: Catalogue size with the padding id.
        weights: A weight of 0 leaves its part out.
    """
    device = student.states.device
    following = sequences.item_seq[places.row, places.seen].unsqueeze(1).to(device)
    told, wanted = (r.item_scores(r.states, following) for r in (student, teacher))
    parts = [pointwise_discrepancy(told, wanted)]
    if weights.negative:
        others = _items_not_in(sequences.item_seq[places.row], n_items).to(device)
        scores = (r.item_scores(r.states, others) for r in (student, teacher))
        parts.append(weights.negative * pointwise_discrepancy(*scores))
    if weights.ranking:
        asked = (places.seen % weights.ranking_stride == 0).nonzero().squeeze(1).to(device)
        of_asked = teacher._replace(states=teacher.states[asked])
        best = of_asked.best_items(weights.ranking_items, n_items)

        def ranking(which: slice, states: Tensor) -> Tensor:
            return ranking_discrepancy(student.item_scores(states, best[which])) * len(states)

        # A head may ask for the scores of all items to give those of a few.
        chunk = default_chunk_size(n_items, device)
        states, tensors = student.states[asked], list(student.item_tensors)
        total = sum_in_chunks(ranking, [states], tensors, chunk)
        parts.append(weights.ranking * total / max(1, len(asked)))
    return Output(parts, told, wanted)


def similarity_level(
    student: SequenceReader, teacher: SequenceReader, weights: Discrepancy
) -> Tensor:
    """How differently both see some items, as they read them: quantized, where that is so."""
    n = min(weights.similarity_items, student.n_items - 1)
    ids = torch.randperm(student.n_items - 1)[:n] + 1
    with torch.no_grad():
        wanted = teacher.item_vectors(ids)
    return weights.similarity * similarity_discrepancy(student.item_vectors(ids), wanted)


def _items_not_in(item_seq: Tensor, n_items: int, tries: int = 8) -> Tensor:
    """One item per row that the row does not have, ``(N, 1)``; any after so many tries."""
    drawn = torch.randint(1, n_items, (len(item_seq), 1))
    for _ in range(tries):
        known = (item_seq == drawn).any(1)
        if not known.any():
            break
        drawn[known] = torch.randint(1, n_items, (int(known.sum()), 1))
    return drawn
