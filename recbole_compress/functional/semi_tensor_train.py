"""Semi-tensor-train decomposition: a plain tensor train with other modes and ranks.

OD-Rec joins cores by the left semi-tensor product: for ``A`` with ``t`` times as many columns as
``B`` has rows it is ``A ⋉ B = A (B ⊗ I_t)``, entry by entry::

    (A ⋉ B)[r, c * t + s] = sum over k of A[r, k * t + s] * B[k, c]

The index ``s`` goes through the product untouched, and, with one ``t`` for all, through every
further one. So it is an index of the first core's columns as well as one of the last: a table with
row modes ``I``, column modes ``J``, ranks ``R`` and factor ``t`` *is* the plain tensor train with

    column modes  J_1 * t, J_2, ..., J_{d-1}, J_d / t      and ranks  R_k / t

up to one fixed permutation of the columns, ``(j_1, ..., j_d, s)`` there and ``(j_1, s, ..., j_d)``
here. The numbers are the same numbers: ``G_1[(j_1, s), i_1, k] = A[(i_1, j_1), k * t + s]`` and
``G_k = B``. An embedding's columns have no order of their own, so nothing else needs to know ``t``.

Reference:
    Xia et al., "On-Device Next-Item Recommendation with Self-Supervised Knowledge Distillation",
    SIGIR 2022, arXiv:2204.11091, after Zhao et al., arXiv:2109.15200.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["effective_columns", "effective_ranks"]


def effective_columns(cols: Sequence[int], stp_factor: int) -> tuple[int, ...]:
    """Column modes of the plain tensor train that a semi-tensor train is.

    Args:
        cols: The paper's column modes ``J``.
        stp_factor: ``t``, which divides the last of them.

    Raises:
        ValueError: It does not.

    Example:
        >>> effective_columns((16, 8), 2), effective_columns((16, 8), 1)
        ((32, 4), (16, 8))
    """
    first, *middle, last = cols
    if stp_factor < 1 or last % stp_factor:
        raise ValueError(
            f"stp_factor={stp_factor}: choose a divisor of the last column mode, {last} in "
            f"tt_col_shape={list(cols)}"
        )
    return (first * stp_factor, *middle, last // stp_factor)


def effective_ranks(ranks: Sequence[int], stp_factor: int) -> tuple[int, ...]:
    """Ranks of the plain tensor train that a semi-tensor train is.

    Args:
        ranks: The paper's ranks ``R``.
        stp_factor: ``t``, which divides each of them.

    Raises:
        ValueError: It does not.

    Example:
        >>> effective_ranks([60, 60], 2)
        (30, 30)
    """
    for rank in ranks:
        if rank < 1 or rank % stp_factor:
            raise ValueError(
                f"tt_ranks={list(ranks)}, stp_factor={stp_factor}: choose ranks from 1 up that "
                "stp_factor divides"
            )
    return tuple(rank // stp_factor for rank in ranks)
