"""CpRec's two-level softmax on popularity ranks: loss, log-probabilities and exact top-k.

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
from recbole_compress.functional.topk import row_topk

__all__ = [
    "two_level_cross_entropy",
    "two_level_log_probs",
    "two_level_log_softmax",
    "two_level_topk",
]

Tails = Sequence[tuple[Tensor, Tensor]]

_ROWS_IN_CACHE = 16


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

    Returns:
        Scalar.

    Example:
        >>> tails = [(torch.zeros(1, 2), torch.zeros(4, 1))]
        >>> ranks = torch.tensor([3])  # in the tail: 1/2 for its token, 1/4 within
        >>> two_level_cross_entropy(torch.zeros(1, 2), torch.zeros(2, 2), tails, ranks).exp()
        tensor(8.)
    """
    head_classes, members = _split_by_tail(ranks, head_weight, tails)
    total = linear_cross_entropy(
        hidden, head_weight, head_classes, reduction="sum", chunk_size=chunk_size
    )
    for (projection, weight), (positions, tail_rows) in zip(tails, members, strict=True):
        narrow = hidden.index_select(0, positions) @ projection.T
        total = total + linear_cross_entropy(
            narrow, weight, tail_rows, reduction="sum", chunk_size=chunk_size
        )
    return total / max(len(hidden), 1)


def two_level_log_softmax(hidden: Tensor, head_weight: Tensor, tails: Tails) -> Tensor:
    """Log-probability of every item, ``(N, n_items)``, in rank order; each row sums to 1 in exp.

    Example:
        >>> tails = [(torch.zeros(1, 2), torch.zeros(4, 1))]
        >>> two_level_log_softmax(torch.zeros(1, 2), torch.zeros(2, 2), tails).exp()
        tensor([[0.5000, 0.1250, 0.1250, 0.1250, 0.1250]])
    """
    n_head = len(head_weight) - len(tails)
    first_level = F.log_softmax(hidden @ head_weight.T, dim=1)
    pieces = [first_level[:, :n_head]]
    for i, tail in enumerate(tails):
        pieces.append(_tail_log_probs(hidden, tail, first_level[:, n_head + i]))
    return torch.cat(pieces, dim=1)


def _tail_log_probs(hidden: Tensor, tail: tuple[Tensor, Tensor], token: Tensor) -> Tensor:
    projection, weight = tail
    return F.log_softmax(hidden @ projection.T @ weight.T, dim=1) + token.unsqueeze(1)


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


def two_level_topk(
    hidden: Tensor, head_weight: Tensor, tails: Tails, k: int
) -> tuple[Tensor, Tensor, list[int]]:
    """Exact top-k that opens a tail, row by row, only where it can still contribute.

    Equals ``torch.topk(two_level_log_softmax(hidden, head_weight, tails), k)``. No item of a tail
    is more probable than the tail's token, so a tail whose token lies below the k-th best *item*
    found so far holds none of the top k.

    Returns:
        Values and ranks ``(N, k)``, best first, and for every tail the number of rows it was
        opened for.

    Example:
        >>> tails = [(torch.zeros(1, 2), torch.zeros(4, 1))]
        >>> head_weight = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
        >>> values, ranks, opened = two_level_topk(torch.ones(1, 2), head_weight, tails, k=1)
        >>> ranks.tolist(), opened
        ([[0]], [0])

    Reference:
        The released code asks whether the token is among the k best *head entries*, tokens
        included. Differs: with two tails or more that rule can miss the best item.
    """
    n_head = len(head_weight) - len(tails)
    first_level = F.log_softmax(hidden @ head_weight.T, dim=1)
    tokens = first_level[:, n_head:]
    starts = [n_head]
    for _, weight in tails:
        starts.append(starts[-1] + len(weight))

    # Places not filled yet hold -inf, so every tail is opened until k items are found.
    values = hidden.new_full((len(hidden), k), -torch.inf, dtype=first_level.dtype)
    ranks = torch.zeros((len(hidden), k), dtype=torch.long, device=hidden.device)
    found = min(k, n_head)
    values[:, :found], ranks[:, :found] = first_level[:, :n_head].topk(found, dim=1)

    opened = [0] * len(tails)
    # Any order is exact; likely tails first raise the bar for the others.
    for i in tokens.mean(0).argsort(descending=True).tolist():
        rows = (tokens[:, i] >= values[:, -1]).nonzero().squeeze(1)
        opened[i] = len(rows)
        if opened[i] == 0:
            continue
        best, best_row = _tail_topk(hidden[rows], tails[i], k)
        candidates = torch.cat([values[rows], best + tokens[rows, i].unsqueeze(1)], dim=1)
        candidate_ranks = torch.cat([ranks[rows], best_row + starts[i]], dim=1)
        values[rows], order = candidates.topk(k, dim=1)
        ranks[rows] = candidate_ranks.gather(1, order)
    return values, ranks, opened


def _tail_topk(hidden: Tensor, tail: tuple[Tensor, Tensor], k: int) -> tuple[Tensor, Tensor]:
    """Best log-probabilities within one tail and their rows, ``(N, min(k, tail_size))``.

    A few rows at a time, so that a row's logits stay in cache from the product to the softmax.
    """
    projection, weight = tail
    narrow = hidden @ projection.T
    k = min(k, len(weight))
    values = hidden.new_empty(len(hidden), k)
    rows = torch.empty(len(hidden), k, dtype=torch.long, device=hidden.device)
    for start in range(0, len(hidden), _ROWS_IN_CACHE):
        chunk = slice(start, start + _ROWS_IN_CACHE)
        logits = narrow[chunk] @ weight.T
        best, rows[chunk] = row_topk(logits, k)
        # From the best item's probability: never underflows, and softmax is one fused pass.
        best_log_prob = logits.softmax(1).gather(1, rows[chunk, :1]).log()
        values[chunk] = best - best[:, :1] + best_log_prob
    return values, rows
