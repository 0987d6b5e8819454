"""Which row of a table an item has where neighbouring rows share numbers.

RecBole numbers items as they come in the file. Those of one sequence get neighbouring ids, and an
item that is first seen as a test target gets the id right behind its user's history. Neighbours in
a tensor train learn from each other, so ids in that order would tell the test targets.
"""

from __future__ import annotations

import math

__all__ = ["scattering_factor"]

_GOLDEN = (math.sqrt(5) - 1) / 2


def scattering_factor(n_items: int) -> int:
    """The factor by which ids are multiplied, modulo ``n_items``, to scatter neighbours.

    ``(id - 1) * factor % n_items`` is a permutation of ``0 .. n_items - 1`` that nothing has to be
    stored for; ``pow(factor, -1, n_items)`` leads back. The factor is prime to ``n_items`` and cuts
    it as the golden section does, so ids close to each other get rows far from each other.

    Example:
        >>> factor = scattering_factor(10)
        >>> factor, [i * factor % 10 for i in range(10)]
        (7, [0, 7, 4, 1, 8, 5, 2, 9, 6, 3])

    Reference:
        Knuth, The Art of Computer Programming, vol. 3, section 6.4: Fibonacci hashing.
    """
    factor = max(1, round(n_items * _GOLDEN))
    while math.gcd(factor, n_items) > 1:
        factor += 1
    return factor
