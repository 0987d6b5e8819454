"""Teaching the generator: the gradient of a discrepancy through items that were drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from recbole_compress.datafree.sequences import Reading
from recbole_compress.functional.cross_entropy import default_chunk_size
from recbole_compress.functional.sum_in_chunks import sum_in_chunks

__all__ = ["Choices", "generator_objective"]


class Choices(NamedTuple):
    """Items that a generator has drawn, and how candidates are compared.

    Attributes:
        ids: The drawn ids, ``(N,)``.
        top_k: It drew among its so many best.
        temperature: Of the Gumbel-softmax whose gradient stands for that of the draw.
    """

    ids: Tensor
    top_k: int
    temperature: float


def generator_objective(
    generator: Reading,
    choices: Choices,
    slope: Callable[[slice], Tensor],
    n_items: int,
    chance: torch.Generator | None = None,
) -> Tensor:
    """A scalar with the straight-through Gumbel-softmax gradient of any loss; its value means 0.

    Let a loss depend on one-hot vectors ``v`` (a row per drawn item), through ``v @ table`` in
    place of item vectors and ``(scores * v).sum(1)`` in place of scores. Straight-through replaces
    ``dv`` by ``d softmax((scores_k + gumbel) / temperature)`` over the ``top_k`` candidates, so all
    that is needed of the loss is its slope in ``v``. In chunks, no ``(N, n_items)`` matrix exists.

    The Gumbel noise is drawn here, given that the drawn item won: jointly with the draw that is
    the same distribution as keeping the noise of the draw.

    Args:
        generator: What the generator says where it drew, with gradients.
        choices: What it drew.
        slope: Slice of the ``N`` draws -> derivative of the loss in ``v``, ``(C, n_items)``.
        n_items: Catalogue size with the padding id.
        chance: Random numbers, on the CPU.

    Returns:
        Scalar.
    """
    k = min(choices.top_k, n_items - 1)

    def objective(which: slice, states: Tensor) -> Tensor:
        scores = generator.scores(states)
        drawn = choices.ids[which].unsqueeze(1)
        with torch.no_grad():
            ids = scores[:, 1:].topk(k, dim=1).indices + 1
            # In another batch the last candidate can come out differently: the drawn one was there.
            missing = ~(ids == drawn).any(1)
            ids[missing, -1] = drawn[missing, 0]
            derivative = slope(which).gather(1, ids)
        values = scores.gather(1, ids)
        noise = _noise_of_winner(values.detach(), ids == drawn, chance)
        soft = ((values + noise) / choices.temperature).softmax(1)
        # Forward nothing, backward the slope: the value of the loss itself is known elsewhere.
        return ((soft - soft.detach()) * derivative).sum()

    chunk = default_chunk_size(n_items, generator.states.device)
    return sum_in_chunks(objective, [generator.states], list(generator.tensors), chunk)


def _noise_of_winner(values: Tensor, won: Tensor, chance: torch.Generator | None = None) -> Tensor:
    """Gumbel noise given that ``values + noise`` is largest where ``won``, one per row.

    The largest of the sums is Gumbel around ``logsumexp(values)``, whoever it is; the others are
    Gumbel around their own value, truncated below it.
    """
    drawn = torch.rand(values.shape, generator=chance, dtype=torch.float64).to(values.device)
    exponential = -drawn.clamp(min=1e-300).log()
    values = values.double()
    highest = values.logsumexp(1, keepdim=True) - exponential[won].log().unsqueeze(1)
    shifted = values.amax(1, keepdim=True)
    truncated = shifted - torch.log(
        torch.exp(shifted - highest) + exponential * torch.exp(shifted - values)
    )
    total = torch.where(won, highest, truncated)
    return (total - values).float()
