"""Which tensor gets how many bits, where all of them together may take so many bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

__all__ = ["BitChoice", "least_harm"]

# Of the search; what it has found by then is taken, if not proven best.
_SECONDS = 20.0


class BitChoice(NamedTuple):
    """One way to store one tensor.

    Attributes:
        bits: Per number.
        size_bytes: What it takes then.
        harm: What that does to the model; harms of several tensors add up.
    """

    bits: int
    size_bytes: int
    harm: float


def least_harm(choices: Sequence[Sequence[BitChoice]], max_bytes: int) -> list[BitChoice] | None:
    """One choice per tensor, of the least total harm that fits.

    The naive equivalent tries all of ``itertools.product(*choices)``.

    Args:
        choices: Of every tensor, at least one each.
        max_bytes: What the chosen ones may take together.

    Returns:
        In the order of ``choices``; None if nothing fits.

    Example:
        >>> table = [BitChoice(2, 200, 0.5), BitChoice(4, 400, 0.1)]
        >>> matrix = [BitChoice(2, 20, 0.3), BitChoice(4, 40, 0.01)]
        >>> [[one.bits for one in least_harm([table, matrix], most)] for most in (240, 440)]
        [[2, 4], [4, 4]]
        >>> least_harm([table, matrix], 200) is None
        True
    """
    smallest = [min(of_tensor, key=lambda one: one.size_bytes) for of_tensor in choices]
    if _total(smallest) > max_bytes:
        return None
    if not choices:
        return []
    # The solver's bound gives way by about a millionth of itself.
    bound = max_bytes
    while found := _solved(choices, bound):
        if _total(found) <= max_bytes:
            return found
        bound -= _total(found) - max_bytes
    return smallest


def _total(chosen: Sequence[BitChoice]) -> int:
    return sum(one.size_bytes for one in chosen)


def _solved(choices: Sequence[Sequence[BitChoice]], bound: int) -> list[BitChoice] | None:
    flat = [one for of_tensor in choices for one in of_tensor]
    tensor = np.repeat(np.arange(len(choices)), [len(of_tensor) for of_tensor in choices])
    one_each = csr_array((np.ones(len(flat)), (tensor, np.arange(len(flat)))))
    harms = np.array([one.harm for one in flat], dtype=float)
    # In shares of the whole, so that the solver's tolerances mean the same for all models.
    shares = np.array([one.size_bytes for one in flat], dtype=float) / max(1, bound)
    found = milp(
        harms / max(harms.max(), np.finfo(float).tiny),
        integrality=np.ones(len(flat)),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(shares[None], -np.inf, 1)],
        options={"time_limit": _SECONDS, "mip_rel_gap": 0.0},
    )
    if found.x is None:
        return None
    return [one for one, share in zip(flat, found.x, strict=True) if share > 0.5]
