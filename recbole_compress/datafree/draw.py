"""One item per row of scores."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["draw_from", "draw_items_", "epsilon_greedy", "gumbel_top_k"]


def draw_items_(
    scores: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """One id per row, drawn from the softmax of its scores. Overwrites ``scores``.

    Equals in distribution ``torch.multinomial((scores / temperature).softmax(1), 1)``, with one
    random number per row instead of one per score: the cumulative sum is inverted.

    Args:
        scores: ``(B, n)``, float32; ``-inf`` is never drawn, and no row is all ``-inf``.
        temperature: Above 0.
        generator: On the device of the scores.

    Returns:
        int64 ``(B,)``.

    Example:
        >>> scores = torch.tensor([[-torch.inf, 0.0, 50.0], [1.0, -torch.inf, -torch.inf]])
        >>> draw_items_(scores).tolist()
        [2, 0]
    """
    if temperature <= 0:
        raise ValueError(f"temperature={temperature}: choose a number above 0")
    scores.sub_(scores.amax(1, keepdim=True)).div_(temperature).exp_()
    # In double precision: float32 would lose the tail of a large catalogue in the sum of its head.
    cumulative = scores.cumsum(1, dtype=torch.float64)
    # The random number too, of which float32 has only 2 ** 24.
    chance = torch.rand(
        len(scores), 1, generator=generator, dtype=torch.float64, device=scores.device
    )
    return torch.searchsorted(cumulative, chance * cumulative[:, -1:], right=True).squeeze(1)


def draw_from(prior: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
    """``n`` ids from one distribution: ``torch.multinomial`` for a catalogue of any size.

    Args:
        prior: Probabilities or anything in proportion to them, ``(n_items,)``.
        n: How many, one independent of the other.
        generator: On the device of the prior.

    Returns:
        int64 ``(n,)``.

    Example:
        >>> draw_from(torch.tensor([0.0, 0.0, 0.5]), 3).tolist()
        [2, 2, 2]
    """
    cumulative = prior.double().cumsum(0)
    chance = torch.rand(n, generator=generator, dtype=torch.float64, device=prior.device)
    return torch.searchsorted(cumulative, chance * cumulative[-1], right=True)


def epsilon_greedy(
    scores: Tensor, epsilon: float, generator: torch.Generator | None = None
) -> Tensor:
    """The best item, or with probability ``epsilon`` any item (id 1 up).

    Args:
        scores: ``(B, n_items)``; column 0 is padding, and what is ``-inf`` is no item either.
        epsilon: 0 to 1.
        generator: On the device of the scores.

    Returns:
        int64 ``(B,)``.

    Example:
        >>> epsilon_greedy(torch.tensor([[9.0, 1.0, 2.0]]), epsilon=0.0)
        tensor([2])
    """
    items = scores[:, 1:]
    picked = items.argmax(1)
    explores = torch.rand(picked.shape, generator=generator, device=scores.device) < epsilon
    alike = items[explores]
    picked[explores] = draw_items_(alike.where(alike == -torch.inf, 0.0), generator=generator)
    return picked + 1


def gumbel_top_k(scores: Tensor, k: int, generator: torch.Generator | None = None) -> Tensor:
    """One of the ``k`` best, drawn from their softmax.

    Equals in distribution the largest of the ``k`` best scores after Gumbel noise, with one random
    number per row and without sorting them.

    Args:
        scores: ``(B, n_items)``; column 0 is padding.
        k: Candidates; more than there are items means all of them.
        generator: On the device of the scores.

    Returns:
        int64 ``(B,)``.

    Example:
        >>> gumbel_top_k(torch.tensor([[9.0, 1.0, 2.0]]), k=1)
        tensor([2])
    """
    values, ids = scores[:, 1:].topk(min(k, scores.shape[1] - 1), dim=1, sorted=False)
    winner = draw_items_(values, generator=generator).unsqueeze(1)
    return ids.gather(1, winner).squeeze(1) + 1
