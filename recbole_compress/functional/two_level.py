"""CpRec's two-level softmax on popularity ranks: loss and log-probabilities.

The first level chooses a popular item or a *token* that stands for a tail item block, the
second an item within that tail. All functions share three arguments: ``hidden`` ``(N, dim)``;
``head_weight`` ``(n_head + len(tails), dim)``, popular items first, then one token per tail; and
``tails``, per tail a ``(projection (tail_dim, dim), weight (tail_size, tail_dim))``.

With ``p`` the head softmax and ``q_i`` the softmax within tail ``i``, an item's probability is
``p[item]`` in the head and ``p[token_i] * q_i[item]`` in tail ``i``.

Reference:
    Sun et al., "A Generic Network Compression Framework for Sequential Recommender Systems",
    SIGIR 2020, arXiv:2004.13139, output side (Bo). The same function as the adaptive softmax of
    Grave et al., ICML 2017, without any bias.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_compress.functional.cross_entropy import linear_cross_entropy
from recbole_compress.functional.left_out import left_out_

__all__ = [
    "left_out_of_first_level",
    "two_level_cross_entropy",
    "two_level_log_probs",
    "two_level_log_softmax",
]

Tails = Sequence[tuple[Tensor, Tensor]]


def _split_by_tail(ranks: Tensor, head_weight: Tensor, tails: Tails) -> tuple[Tensor, list]:
    """First-level class of every rank, and per tail the positions inside with their tail rows."""
    n_head = start = len(head_weight) - len(tails)
    head_classes, members = ranks.clone(), []
    for i, (_, weight) in enumerate(tails):
        inside = (ranks >= start) & (ranks < start + len(weight))
        head_classes[inside] = n_head + i
        positions = inside.nonzero().squeeze(1)
        members.append((positions, ranks[positions] - start))
        start += len(weight)
    return head_classes, members


def two_level_cross_entropy(
    hidden: Tensor,
    head_weight: Tensor,
    tails: Tails,
    ranks: Tensor,
    chunk_size: int | None = None,
    excluded: Tensor | None = None,
) -> Tensor:
    """Mean loss of the two-level softmax; only rows whose target lies in a tail enter it.

    Equals ``-two_level_log_softmax(hidden, head_weight, tails).gather(1, ranks[:, None]).mean()``
    in value and gradients, in bounded memory; 0 for no targets. A tail without a target in
    the batch gets a zero gradient, not None, so an optimizer treats it as the dense loss would.

    Args:
        hidden: ``(N, dim)``.
        head_weight: ``(n_head + len(tails), dim)``.
        tails: Projection and weight per tail.
        ranks: Target ranks, ``(N,)``, int64.
        chunk_size: See :func:`~recbole_compress.functional.cross_entropy.linear_cross_entropy`.
        excluded: Ranks that a row's item cannot have, ``(N, E)``, each once; -1 for none.

    Returns:
        Scalar.

    Example:
        >>> tails = [(torch.zeros(1, 2), torch.zeros(4, 1))]
        >>> ranks = torch.tensor([3])  # in the tail: 1/2 for its token, 1/4 within
        >>> two_level_cross_entropy(torch.zeros(1, 2), torch.zeros(2, 2), tails, ranks).exp()
        tensor(8.)
    """
    head_classes, members = _split_by_tail(ranks, head_weight, tails)
    start = len(head_weight) - len(tails)
    first_out = None
    if excluded is not None:
        first_out = left_out_of_first_level(excluded, start, [len(w) for _, w in tails])
    total = linear_cross_entropy(
        hidden,
        head_weight,
        head_classes,
        excluded=first_out,
        reduction="sum",
        chunk_size=chunk_size,
    )
    for (projection, weight), (positions, tail_rows) in zip(tails, members, strict=True):
        narrow = hidden.index_select(0, positions) @ projection.T
        total = total + linear_cross_entropy(
            narrow,
            weight,
            tail_rows,
            excluded=None if excluded is None else excluded.index_select(0, positions) - start,
            reduction="sum",
            chunk_size=chunk_size,
        )
        start += len(weight)
    return total / max(len(hidden), 1)


def left_out_of_first_level(ranks: Tensor, n_head: int, tail_sizes: Sequence[int]) -> Tensor:
    """First-level classes of which nothing is left without these ranks; -1 for none.

    Those of popular items themselves, and the token of a tail that they are all of.

    Args:
        ranks: ``(N, E)``, each once; -1 for none.
        n_head: Popular items; tokens come behind.
        tail_sizes: Items of every tail.

    Returns:
        ``(N, E)``, or wider where a tail is so short that it may be gone.

    Example:
        >>> ranks = torch.tensor([[0, 5, -1, 4], [3, 1, -1, -1]])
        >>> left_out_of_first_level(ranks, n_head=3, tail_sizes=(1, 2)).tolist()
        [[0, -1, -1, -1, -1, 4], [-1, 1, -1, -1, 3, -1]]
    """
    classes, start = [ranks.masked_fill(ranks >= n_head, -1)], n_head
    for i, size in enumerate(tail_sizes):
        end = start + size
        if size <= ranks.shape[1]:
            gone = ((ranks >= start) & (ranks < end)).sum(1, keepdim=True) == size
            classes.append(torch.where(gone, n_head + i, -1))
        start = end
    return torch.cat(classes, 1)


def two_level_log_softmax(
    hidden: Tensor, head_weight: Tensor, tails: Tails, excluded: Tensor | None = None
) -> Tensor:
    """Log-probability of every item, ``(N, n_items)``, in rank order; each row sums to 1 in exp.

    With ranks that are ``excluded``, ``(N, E)``, each once, -1 for none, items are left out of the
    softmax that they stand in, and so is the token of a tail without any other; they come out low.

    Example:
        >>> tails = [(torch.zeros(1, 2), torch.zeros(4, 1))]
        >>> two_level_log_softmax(torch.zeros(1, 2), torch.zeros(2, 2), tails).exp()
        tensor([[0.5000, 0.1250, 0.1250, 0.1250, 0.1250]])
    """
    n_head = len(head_weight) - len(tails)
    first_level = hidden @ head_weight.T
    if excluded is not None:
        sizes = [len(weight) for _, weight in tails]
        first_level = left_out_(first_level, left_out_of_first_level(excluded, n_head, sizes))
    first_level = F.log_softmax(first_level, dim=1)
    pieces, start = [first_level[:, :n_head]], n_head
    for i, (projection, weight) in enumerate(tails):
        logits = hidden @ projection.T @ weight.T
        if excluded is not None:
            logits = left_out_(logits, excluded - start)
        pieces.append(F.log_softmax(logits, dim=1) + first_level[:, n_head + i].unsqueeze(1))
        start += len(weight)
    return torch.cat(pieces, dim=1)


def two_level_log_probs(hidden: Tensor, head_weight: Tensor, tails: Tails, ranks: Tensor) -> Tensor:
    """Log-probability of one item per row; opens only the tails that these items lie in.

    Equals ``two_level_log_softmax(hidden, head_weight, tails).gather(1, ranks[:, None])[:, 0]``.

    Example:
        >>> tails = [(torch.zeros(1, 2), torch.zeros(4, 1))]
        >>> hidden, head_weight = torch.zeros(2, 2), torch.zeros(2, 2)
        >>> two_level_log_probs(hidden, head_weight, tails, torch.tensor([0, 4])).exp()
        tensor([0.5000, 0.1250])
    """
    head_classes, members = _split_by_tail(ranks, head_weight, tails)
    log_probs = -F.cross_entropy(hidden @ head_weight.T, head_classes, reduction="none")
    for (projection, weight), (positions, tail_rows) in zip(tails, members, strict=True):
        logits = hidden.index_select(0, positions) @ projection.T @ weight.T
        within = -F.cross_entropy(logits, tail_rows, reduction="none")
        log_probs = log_probs.index_add(0, positions, within)
    return log_probs
