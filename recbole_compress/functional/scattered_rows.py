"""Which row of a table an item has where neighbouring rows share numbers.

RecBole numbers items as they come in the file. Those of one sequence get neighbouring ids, and an
item that is first seen as a test target gets the id right behind its user's history. Neighbours in
a tensor train learn from each other, so ids in that order would tell the test targets.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch

__all__ = ["scattering_factor"]

_GOLDEN = (math.sqrt(5) - 1) / 2
# Ids so close that they may belong to one sequence, and how many of such pairs may share a slice
# of a core: so few, or twice what chance brings together in a short mode.
_CLOSE, _FEW = 8, 0.05
# Ids looked at, any of the catalogue's, and factors tried before the best one is taken.
_LOOKED_AT, _TRIES = 1 << 12, 64


def scattering_factor(n_items: int, row_modes: Sequence[int] = ()) -> int:
    """The factor by which ids are multiplied, modulo ``n_items``, to scatter neighbours.

    ``(id - 1) * factor % n_items`` is a permutation of ``0 .. n_items - 1`` that nothing has to be
    stored for; ``pow(factor, -1, n_items)`` leads back. The factor is prime to ``n_items`` and cuts
    it as the golden section does, so ids close to each other get rows far from each other. Such
    rows can still share a slice of a core, where the factor is close to a multiple of its mode;
    then the next factor without that is taken.

    Args:
        n_items: Without the padding id.
        row_modes: Rows of every core, first to last; none for a table whose rows share nothing.

    Example:
        >>> factor = scattering_factor(10)
        >>> factor, [i * factor % 10 for i in range(10)]
        (7, [0, 7, 4, 1, 8, 5, 2, 9, 6, 3])
        >>> scattering_factor(25_124), scattering_factor(25_124, (55, 457))
        (15527, 15529)

    Reference:
        Knuth, The Art of Computer Programming, vol. 3, section 6.4: Fibonacci hashing.
    """
    golden = max(1, round(n_items * _GOLDEN))
    prime = (factor for factor in itertools.count(golden) if math.gcd(factor, n_items) == 1)
    best, least = 1, math.inf
    for factor in itertools.islice(prime, _TRIES):
        excess = _shared(n_items, factor, row_modes)
        if excess <= 0:
            return factor
        if excess < least:
            best, least = factor, excess
    return best


def _shared(n_items: int, factor: int, row_modes: Sequence[int]) -> float:
    """How far the largest share of close ids with one slice of a core is above what may be."""
    ids = torch.arange(n_items)
    if n_items > _LOOKED_AT:
        ids = torch.randint(n_items, (_LOOKED_AT,), generator=torch.Generator().manual_seed(0))
    worst, below = 0.0, 1
    for size in reversed(row_modes):
        if 1 < size < n_items:
            slices = ids * factor % n_items // below % size
            for distance in range(1, min(_CLOSE, n_items - 1) + 1):
                others = (ids + distance) % n_items * factor % n_items // below % size
                share = float((slices == others).float().mean())
                worst = max(worst, share - max(_FEW, 2 / size))
        below *= size
    return worst
