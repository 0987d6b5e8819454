"""Item blocks: cutting a catalogue, sorted by popularity, into head and tail blocks.

Popular items are read often and need expressive vectors; rare items are many and need few
numbers each. Everything here is plain arithmetic on counts; nothing is learned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from recbole_compress.near_names import did_you_mean

__all__ = ["CUT_RULES", "attenuated_dims", "block_sizes", "rank_by_frequency"]


def rank_by_frequency(counts: Tensor) -> Tensor:
    """Popularity rank of every item id, most frequent first, ties by id.

    Equals ``argsort(argsort(-counts[1:]))`` with a stable sort, and -1 for the padding id 0.

    Args:
        counts: Interactions per item id in the train split, ``(num_embeddings,)``; id 0 is padding.

    Returns:
        int32 ``(num_embeddings,)``; a permutation of ``0 .. num_embeddings - 2`` behind a -1.

    Example:
        >>> rank_by_frequency(torch.tensor([0, 1, 9, 5])).tolist()
        [-1, 2, 0, 1]
    """
    order = torch.argsort(counts[1:], descending=True, stable=True)
    rank = torch.full((len(counts),), -1, dtype=torch.int32)
    rank[order + 1] = torch.arange(len(order), dtype=torch.int32)
    return rank


def equal_mass_cutoffs(sorted_counts: Tensor, n_blocks: int) -> list[int]:
    """Cut points after which every item block holds the same share of all interactions.

    Example:
        >>> equal_mass_cutoffs(torch.tensor([8, 4, 2, 1, 1]), n_blocks=2)
        [1]
    """
    mass = sorted_counts.double().cumsum(0)
    shares = mass[-1] * torch.arange(1, n_blocks, dtype=torch.double) / n_blocks
    return (torch.searchsorted(mass, shares - 1e-9) + 1).tolist()


def head_tail_cutoffs(sorted_counts: Tensor, n_blocks: int) -> list[int]:
    """Head/tail breaks: cut at the mean, then cut the head at its own mean, and so on.

    Reference:
        Jiang, "Head/tail breaks: a new classification scheme for data with a heavy-tailed
        distribution", The Professional Geographer 2013 (cited by CpRec).

    Example:
        >>> head_tail_cutoffs(torch.tensor([90, 30, 5, 2, 1, 1, 1]), n_blocks=3)
        [1, 2]
    """
    cutoffs: list[int] = []
    head = sorted_counts.double()
    for _ in range(n_blocks - 1):
        above_mean = int((head > head.mean()).sum())
        if above_mean == 0:  # all counts equal: nothing stands out any more
            break
        cutoffs.insert(0, above_mean)
        head = head[:above_mean]
    return cutoffs


CutRule = Callable[[Tensor, int], list[int]]
CUT_RULES: dict[str, CutRule] = {
    # ``auto`` is the rule that measured best, see docs/results.
    "auto": equal_mass_cutoffs,
    "equal_mass": equal_mass_cutoffs,
    "head_tail": head_tail_cutoffs,
}


def block_sizes(
    counts: Tensor, cutoffs: str | Sequence[int | float] = "auto", n_blocks: int = 3
) -> tuple[int, ...]:
    """Number of items in every item block, most popular block first.

    Args:
        counts: Interactions per item id, ``(num_embeddings,)``; id 0 is padding and never counted.
        cutoffs: A rule of :data:`CUT_RULES`, or ascending cut points: how many items (int) or
            which fraction of the catalogue (float between 0 and 1) lie before each cut.
        n_blocks: Number of item blocks for a rule. A rule may give fewer where the
            popularity curve does not have so many distinct steps.

    Returns:
        Sizes that sum to ``num_embeddings - 1``, each at least 1.

    Raises:
        ValueError: An unknown rule, cut points that do not ascend or exceed the catalogue,
            or fewer items than item blocks.

    Example:
        >>> block_sizes(torch.tensor([0, 9, 5, 1, 1]), cutoffs=[1, 2])
        (1, 1, 2)
        >>> block_sizes(torch.tensor([0, 9, 5, 1, 1]), cutoffs=[0.5])
        (2, 2)
    """
    n_items = len(counts) - 1
    if isinstance(cutoffs, str):
        points = _cut_by_rule(counts, cutoffs, n_blocks)
    else:
        points = _cut_by_hand(list(cutoffs), n_items)
    edges = [0, *points, n_items]
    return tuple(end - start for start, end in zip(edges[:-1], edges[1:], strict=True))


def _cut_by_rule(counts: Tensor, rule: str, n_blocks: int) -> list[int]:
    if rule not in CUT_RULES:
        raise ValueError(
            f"item_block_cutoffs={rule!r}: {did_you_mean(rule, CUT_RULES)}, or give a list of "
            "ascending cut points"
        )
    n_items = len(counts) - 1
    if not 1 <= n_blocks <= n_items:
        raise ValueError(
            f"n_item_blocks={n_blocks}: a catalogue of {n_items} items can be cut into "
            f"1 to {n_items} item blocks; choose a number in that range"
        )
    sorted_counts = torch.sort(counts[1:], descending=True).values
    if n_blocks == 1 or sorted_counts[0] == 0:
        return []
    points = CUT_RULES[rule](sorted_counts, n_blocks)
    # A rule may name the same point twice on a steep curve; an item block is never empty.
    return sorted({point for point in points if 0 < point < n_items})


def _cut_by_hand(cutoffs: list[int | float], n_items: int) -> list[int]:
    points: list[Any] = [
        round(cut * n_items) if isinstance(cut, float) and 0 < cut < 1 else cut for cut in cutoffs
    ]
    for point in points:
        if isinstance(point, bool) or not isinstance(point, int) or not 0 < point < n_items:
            raise ValueError(
                f"item_block_cutoffs={cutoffs}: every cut point must leave items on both sides of "
                f"it, that is lie in 1 .. {n_items - 1} (or be a fraction between 0 and 1) for a "
                f"catalogue of {n_items} items; {point} does not"
            )
    if any(a >= b for a, b in zip(points[:-1], points[1:], strict=True)):
        raise ValueError(
            f"item_block_cutoffs={cutoffs}: cut points must ascend, each leaving at least one "
            f"item in every item block (as numbers of items: {points})"
        )
    return points


def attenuated_dims(
    dim: int, n_blocks: int, factor: float = 4, explicit: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Width of every item block: ``dim / factor**k`` for block ``k``, at least 1.

    The same rule holds for the input and the output side (the released CpRec code squares the
    factor at every output block, which agrees only up to three blocks).

    Args:
        dim: Width of the most popular block.
        n_blocks: Number of item blocks.
        factor: Attenuation factor; 1 keeps every block at full width.
        explicit: Widths given by hand; replaces the rule.

    Raises:
        ValueError: A factor below 1, a wrong number of widths, or a width below 1 or above ``dim``.

    Example:
        >>> attenuated_dims(64, n_blocks=4, factor=4)
        (64, 16, 4, 1)
    """
    if explicit is not None:
        dims = tuple(explicit)
        if len(dims) != n_blocks:
            raise ValueError(
                f"item_block_dims={list(dims)}: give one width per item block, that is "
                f"{n_blocks} widths"
            )
        if any(isinstance(d, bool) or not isinstance(d, int) or not 1 <= d <= dim for d in dims):
            raise ValueError(
                f"item_block_dims={list(dims)}: every width must be a whole number from 1 to {dim} "
                "(embedding_size)"
            )
        return dims
    if factor < 1:
        raise ValueError(f"block_attenuation={factor}: the factor must be 1 or more")
    return tuple(max(1, int(dim / factor**k)) for k in range(n_blocks))
