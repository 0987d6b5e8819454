"""What a tensor-train table costs to read and to score with, and the cheapest way to do it.

Pure arithmetic on shapes: no tensor is touched. Scoring ``B`` rows with the built table takes
``B * rows * dim`` multiply-adds after the table was built. Core by core it takes, of that,

    rho = R / J_1 + R / I_2        with two cores.

With more cores some neighbours may be worth merging first. All of these are one family: a way of
*grouping* the cores, each group merged into one, the groups contracted one after the other. Core by
core is a group per core, the table is a single group; the least cost wins.

The cost is not multiply-adds alone. Those of one large product run faster than those of several
small ones, but the table is large: it comes from memory where cores are in cache, and has to be
written first, as merged cores have. The weights were measured (``benchmarks/tensor_train.py``), and
decide little: where they matter, the ways are close.

Looking up ``n`` rows is a question of the same kind. Row by row the multiply-adds of a row are paid
``n`` times and those of the table ``rows`` times; but rows are gathered from all over the cores,
and put in order at the end, which costs as much as the multiply-adds of a rank of about 130.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from recbole_compress.functional.tensor_train_shapes import TensorTrainShape

__all__ = [
    "lookup_cost",
    "reads_whole_table",
    "row_costs",
    "rows_together",
    "scoring_cost",
    "scoring_macs",
    "scoring_plan",
    "shared_cores",
]

Core = tuple[int, int, int, int]  # (R_{k-1}, J_k, I_k, R_k)

# In multiply-adds of one large product. Scoring: of 96 choices whose ways were timed on one thread
# (docs/results/tensor_train.json, with and without a kept table) these take the fastest in 93, the
# last two halved or doubled in 90 and more.
_SMALL_PRODUCT = 1.2  # one of the products on the way from core to core
_READ = 20  # a number of the table, which does not stay in cache
_WRITE = 130  # a number that is built, of the table or of a merged core, in memory that is new

# Looking up, in multiply-adds of the product that builds the table: fitted to the number of rows
# from which the table was faster, forward alone and with the backward pass, for seven of that
# file's shapes, both ways in turns on one busy thread. Near there they are close.
_ROW_PRODUCT = 1.1  # one of the products of a row
_GATHER = 10  # a number that is gathered from a core
_ROW = 130  # a number of a row that is put in its place
_BUILT = 30  # a number of the table
_BUILT_WITH_GRADIENT = 55  # and one whose gradient is filled with zeros, added to and read

# An evaluation has more batches than that; a few single requests should not have a table built.
_LOOKUPS = 4  # that a kept table serves


@lru_cache(maxsize=1024)
def scoring_plan(
    shape: TensorTrainShape, batch: int, *, table_ready: bool = False
) -> tuple[int, ...]:
    """Numbers of neighbouring cores to merge before scoring, by :func:`scoring_cost`.

    A single row never asks for the table, whatever the count: reading it takes ``rows * dim``
    numbers, the cores hold a fraction of that.

    Args:
        shape: The table's shape.
        batch: Hidden states to score at once.
        table_ready: The table is there already and costs nothing to build.

    Returns:
        Group sizes that sum to the number of cores: all 1 is core by core, a single number
        the table.

    Example:
        >>> tmall = TensorTrainShape((169, 241), (32, 4), (30,))
        >>> scoring_plan(tmall, 1), scoring_plan(tmall, 1024)
        ((1, 1), (2,))
    """
    table, groups = (shape.n_cores,), _cheapest_groups(shape, batch)
    if batch <= 1:
        return groups
    # On a tie merge less.
    return min(
        (groups, table), key=lambda plan: scoring_cost(shape, batch, plan, table_ready=table_ready)
    )


def scoring_cost(
    shape: TensorTrainShape, batch: int, plan: Sequence[int], *, table_ready: bool = False
) -> float:
    """What scoring ``batch`` rows costs, in multiply-adds of one large product.

    Example:
        >>> tmall = TensorTrainShape((169, 241), (32, 4), (30,))
        >>> kept = scoring_cost(tmall, 16, (2,), table_ready=True)
        >>> kept / scoring_cost(tmall, 16, (1, 1)) > 1  # a small batch does not pay for reading it
        True
    """
    macs = scoring_macs(shape, batch, plan, table_ready=table_ready)
    if len(plan) > 1:
        return macs * _SMALL_PRODUCT + sum(g.written for g in _groups(shape, plan)) * _WRITE
    return macs + shape.n_rows * shape.dim * (_READ if table_ready else _READ + _WRITE)


def scoring_macs(
    shape: TensorTrainShape, batch: int, plan: Sequence[int], *, table_ready: bool = False
) -> int:
    """Multiply-adds of scoring ``batch`` rows with the cores grouped as in ``plan``.

    Example:
        >>> tmall = TensorTrainShape((169, 241), (32, 4), (30,))
        >>> scoring_macs(tmall, 1, (1, 1)), scoring_macs(tmall, 1, (2,))
        (5536440, 161612672)
    """
    groups = _groups(shape, plan)
    merging = 0 if table_ready and len(plan) == 1 else sum(group.merging for group in groups)
    return merging + batch * sum(group.contracting for group in groups)


def row_costs(shape: TensorTrainShape) -> tuple[int, int]:
    """Numbers read and multiply-adds to look up one row.

    Example:
        >>> row_costs(TensorTrainShape((169, 241), (32, 4), (30,)))
        (1080, 3840)
    """
    slices = [(r, j, 1, r_next) for r, j, _, r_next in shape.core_shapes]
    return sum(math.prod(core) for core in slices), _merged(slices)[0]


def reads_whole_table(
    shape: TensorTrainShape, n_rows: int, *, gradients: bool = False, kept: bool = False
) -> bool:
    """Whether looking up so many different rows is better done in the built table.

    Args:
        shape: The table's shape.
        n_rows: How many different rows.
        gradients: A backward pass will follow. Then the table pays later: its gradient is a whole
            table as well.
        kept: What is built is kept for later lookups. Then it pays sooner.

    Example:
        >>> tmall = TensorTrainShape((169, 241), (32, 4), (30,))
        >>> [reads_whole_table(tmall, n) for n in (50, 5_000, 18_904)]
        [False, False, True]
        >>> reads_whole_table(tmall, 18_000, gradients=True)
        False
        >>> reads_whole_table(tmall, 5_000, kept=True)
        True
    """
    macs, _ = _merged(shape.core_shapes)
    per_number = _BUILT_WITH_GRADIENT if gradients else _BUILT
    built = macs + shape.n_rows * shape.dim * per_number
    return lookup_cost(shape, n_rows) > built / (_LOOKUPS if kept else 1)


def lookup_cost(shape: TensorTrainShape, n_rows: int) -> float:
    """What looking up so many rows costs without the table, in multiply-adds of building it.

    Example:
        >>> tmall = TensorTrainShape((169, 241), (32, 4), (30,))
        >>> lookup_cost(tmall, 20_000) / lookup_cost(tmall, 10_000) < 2  # in larger products
        True
    """
    n_shared = shared_cores(shape.rows, n_rows)
    macs, (_, columns, prefixes, rank) = _merged(shape.core_shapes[:n_shared])
    gathered, put = 0.0, columns * prefixes * rank if n_shared > 1 else 0
    products = 0.0
    for _, j, _, r_next in shape.core_shapes[n_shared:]:
        length = rows_together(prefixes, n_rows)
        # Of every prefix half of the last block is filled up.
        blocks = n_rows / length + prefixes / 2 if length > 1 else n_rows
        gathered += blocks * (columns + length * j * r_next) * rank
        products += blocks * length * columns * rank * j * r_next
        columns, prefixes, rank = columns * j, n_rows, r_next
        put += n_rows * columns * rank
    return macs + products * _ROW_PRODUCT + gathered * _GATHER + put * _ROW


def shared_cores(rows: Sequence[int], n_rows: int) -> int:
    """How many of the first cores are merged before so many rows are looked up.

    As many as have no more row indices together; one at least, all but one at most.

    Args:
        rows: Row modes.
        n_rows: How many rows.

    Example:
        >>> shared_cores((13, 13, 241), 100), shared_cores((13, 13, 241), 500)
        (1, 2)
    """
    fitting = (n for n in range(len(rows) - 1, 1, -1) if math.prod(rows[:n]) <= n_rows)
    return next(fitting, 1)


def rows_together(n_prefixes: int, n_rows: int) -> int:
    """How many rows with the same first indices share a product.

    Half of what there is on average: the fewer, the less is filled up where there are others than
    that, and from there on larger products win little.

    Example:
        >>> rows_together(73, 145), rows_together(73, 292), rows_together(73, 2_920)
        (1, 2, 20)
    """
    return max(1, n_rows // max(1, 2 * n_prefixes))


class _Group(NamedTuple):
    """What some neighbouring cores cost that are merged into one: it depends on them alone.

    Attributes:
        merging: Multiply-adds to merge them.
        contracting: Multiply-adds to contract one row with the core they become.
        written: Numbers of that core; 0 for one that is there as it is.
    """

    merging: int
    contracting: int
    written: int


def _group(shape: TensorTrainShape, start: int, end: int) -> _Group:
    merging, merged = _merged(shape.core_shapes[start:end])
    r, _, i, r_next = merged
    scored, to_come = math.prod(shape.rows[:start]), math.prod(shape.cols[start:])
    written = math.prod(merged) if end - start > 1 else 0
    return _Group(merging, scored * to_come * r * i * r_next, written)


def _groups(shape: TensorTrainShape, plan: Sequence[int]) -> list[_Group]:
    edges = itertools.pairwise(itertools.accumulate(plan, initial=0))
    return [_group(shape, start, end) for start, end in edges]


def _cheapest_groups(shape: TensorTrainShape, batch: int) -> tuple[int, ...]:
    """The grouping of least cost into two groups or more.

    Costs of groups add up, so the best way up to a core is one of the best ways up to an earlier
    one and a group from there: no need to go through all of 2^(d-1) groupings.
    """
    # Cost, groups (fewer than zero: on a tie merge less) and their sizes, up to every core.
    best: list[tuple[float, int, tuple[int, ...]]] = [(0.0, 0, ())]
    for end in range(1, shape.n_cores + 1):
        ways = []
        # A single group of all cores is the table.
        for start in range(1 if end == shape.n_cores else 0, end):
            group = _group(shape, start, end)
            macs = group.merging + batch * group.contracting
            cost, n_groups, sizes = best[start]
            cost += macs * _SMALL_PRODUCT + group.written * _WRITE
            ways.append((cost, n_groups - 1, (*sizes, end - start)))
        best.append(min(ways))
    return best[-1][2]


def _merged(cores: Sequence[Core]) -> tuple[int, Core]:
    """Multiply-adds to merge neighbours from the first to the last, and what they become."""
    macs, merged = 0, cores[0]
    for core in cores[1:]:
        (a, j1, i1, r), (_, j2, i2, b) = merged, core
        macs += a * j1 * i1 * r * j2 * i2 * b
        merged = (a, j1 * j2, i1 * i2, b)
    return macs, merged
