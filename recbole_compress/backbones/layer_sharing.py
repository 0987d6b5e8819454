"""Which layers use the same weights: plans as plain numbers, no tensor in sight."""

from __future__ import annotations

from collections.abc import Callable

from recbole_compress.near_names import did_you_mean

__all__ = ["SHARING_SCHEMES", "SharingPlan", "n_parameter_sets", "sharing_plan"]

SharingPlan = tuple[tuple[int, ...], ...]
"""``plan[i][j]``: the parameter set that convolution ``j`` of residual block ``i`` uses."""

# Position (i, j) of a plan -> parameter set; `width` is the number of convolutions in a block.
SHARING_SCHEMES: dict[str, Callable[[int, int, int], int]] = {
    "none": lambda i, j, width: i * width + j,
    "cross_layer": lambda i, j, width: 0,
    "cross_block": lambda i, j, width: j,
    "adjacent_layer": lambda i, j, width: i,
    "adjacent_block": lambda i, j, width: (i // 2) * width + j,
}


def sharing_plan(
    scheme: str, n_residual_blocks: int, convolutions_per_block: int = 2
) -> SharingPlan:
    """Say which parameter set each convolution of each residual block uses.

    ================== ============================== ========== =========================
    scheme             which convolutions are one     in paper   parameter sets, r blocks
    ================== ============================== ========== =========================
    ``none``           none                                      2r
    ``cross_layer``    all                            Cl         1
    ``cross_block``    all first; all second          Cb         2
    ``adjacent_layer`` those inside a residual block  Al         r
    ``adjacent_block`` residual blocks (0, 1),        Ab         2 ceil(r / 2)
                       (2, 3), ...: first with first,
                       second with second
    ================== ============================== ========== =========================

    Parameter sets are numbered from 0 in order of first use, without gaps.

    Args:
        scheme: One of the names above.
        n_residual_blocks: Depth r, at least 1; any depth works with any scheme.
        convolutions_per_block: Convolutions in one residual block.

    Returns:
        ``plan[i][j]``: the parameter set of convolution ``j`` in residual block ``i``.

    Raises:
        ValueError: An unknown scheme (near names are suggested), or a depth or width below 1.

    Example:
        >>> sharing_plan("none", 3)
        ((0, 1), (2, 3), (4, 5))
        >>> sharing_plan("cross_layer", 3)
        ((0, 0), (0, 0), (0, 0))
        >>> sharing_plan("cross_block", 3)
        ((0, 1), (0, 1), (0, 1))
        >>> sharing_plan("adjacent_layer", 3)
        ((0, 0), (1, 1), (2, 2))
        >>> sharing_plan("adjacent_block", 3)
        ((0, 1), (0, 1), (2, 3))

    Reference:
        Sun et al., "A Generic Network Compression Framework for Sequential Recommender Systems",
        SIGIR 2020, arXiv:2004.13139, layer-wise parameter sharing. The released code pairs
        blocks by ``layer_id / 2``, which shares nothing under Python 3; here it is ``//``.
    """
    if scheme not in SHARING_SCHEMES:
        raise ValueError(f"layer_sharing={scheme!r}: {did_you_mean(scheme, SHARING_SCHEMES)}")
    if n_residual_blocks < 1 or convolutions_per_block < 1:
        raise ValueError(
            f"n_residual_blocks={n_residual_blocks}, convolutions_per_block="
            f"{convolutions_per_block}: a network needs at least one of each"
        )
    parameter_set = SHARING_SCHEMES[scheme]
    return tuple(
        tuple(parameter_set(i, j, convolutions_per_block) for j in range(convolutions_per_block))
        for i in range(n_residual_blocks)
    )


def n_parameter_sets(plan: SharingPlan) -> int:
    """Number of distinct parameter sets in ``plan``.

    Example:
        >>> n_parameter_sets(sharing_plan("adjacent_block", 3))
        4
    """
    return len({index for block in plan for index in block})
