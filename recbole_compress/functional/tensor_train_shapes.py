"""Shapes of tensor-train tables: what they hold, and choosing them for any catalogue.

Most catalogues have an awkward size, a prime for instance, so a table has a few rows more than
there are items. Those rows are never read, trained or ranked.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from recbole_compress.functional.semi_tensor_train import effective_columns, effective_ranks

__all__ = ["TensorTrainShape", "choose_shape"]

_AROUND = 8  # how far from the ideal row mode to look for a better whole number
_TRIES = 100_000

# Rows there may be for every item: the loss builds all of them.
_MOST_SPARE = 4
# Cores that every catalogue may have, the smallest ones too.
_ANY_CATALOGUE = 8


@dataclass(frozen=True)
class TensorTrainShape:
    """Sizes of a tensor-train matrix: a table of ``prod(rows)`` rows and ``prod(cols)`` columns.

    Core ``k`` holds a matrix ``(R_{k-1}, R_k)`` for each of its ``I_k`` row and ``J_k`` column
    indices; row ``i`` and column ``j`` are written in mixed radix, most significant index first,
    and ``table[i, j] = G_1[i_1, j_1] @ ... @ G_d[i_d, j_d]``.

    Args:
        rows: Row modes ``I_1 .. I_d``, two or more.
        cols: Column modes ``J_1 .. J_d``.
        ranks: Ranks ``R_1 .. R_{d-1}`` between neighbouring cores.

    Raises:
        ValueError: Lengths that do not fit, a size below 1, or a rank beyond what its two sides
            can carry.

    Example:
        >>> shape = TensorTrainShape(rows=(169, 241), cols=(16, 8), ranks=(60,))
        >>> shape.n_rows, shape.dim, shape.n_numbers
        (40729, 128, 277920)
    """

    rows: tuple[int, ...]
    cols: tuple[int, ...]
    ranks: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_sizes("tt_row_shape", self.rows)
        _check_sizes("tt_col_shape", self.cols)
        _check_sizes("tt_ranks", self.ranks)
        n = len(self.rows)
        if n < 2 or len(self.cols) != n or len(self.ranks) != n - 1:
            raise ValueError(
                f"tt_row_shape={list(self.rows)}, tt_col_shape={list(self.cols)}, "
                f"tt_ranks={list(self.ranks)}: give d row modes, d column modes and d - 1 ranks "
                "for d cores, two or more"
            )
        useful = _useful_ranks(self.rows, self.cols, self.ranks)
        if any(rank > most for rank, most in zip(self.ranks, useful, strict=True)):
            raise ValueError(
                f"tt_ranks={list(self.ranks)}: between cores of these shapes and ranks, one beyond "
                f"{useful} adds nothing; choose at most that (for semi_tensor_train times "
                "stp_factor)"
            )

    @property
    def n_cores(self) -> int:
        return len(self.rows)

    @cached_property
    def n_rows(self) -> int:
        return math.prod(self.rows)

    @cached_property
    def dim(self) -> int:
        return math.prod(self.cols)

    @cached_property
    def core_shapes(self) -> tuple[tuple[int, int, int, int], ...]:
        """Shape of every core as it is stored: ``(R_{k-1}, J_k, I_k, R_k)``."""
        bonds = (1, *self.ranks, 1)
        return tuple(zip(bonds[:-1], self.cols, self.rows, bonds[1:], strict=True))

    @cached_property
    def n_numbers(self) -> int:
        """Numbers that the cores hold together."""
        return sum(math.prod(core) for core in self.core_shapes)


def choose_shape(
    n_rows: int,
    dim: int,
    *,
    ranks: int | Sequence[int] | None = None,
    max_numbers: float | None = None,
    row_shape: Sequence[int] | None = None,
    col_shape: Sequence[int] | None = None,
    n_cores: int = 2,
    stp_factor: int = 1,
) -> TensorTrainShape:
    """The shape of a table for ``n_rows`` items; what is not given is chosen.

    Column modes are as equal as they can be, larger ones first: the larger the first one is, the
    less scoring without the table costs. Row modes make the cores' ``I_k * J_k`` equal and so the
    table small: two cores hold the fewest numbers possible for their column modes and rank, and a
    given size buys the largest rank.

    Args:
        n_rows: Items; the shape has at least as many rows.
        dim: Width of a row.
        ranks: Ranks as the paper counts them, ``stp_factor`` times those of the plain tensor
            train. One number is for every bond, less where the bond cannot carry it; a list is
            taken as it stands.
        max_numbers: In place of ``ranks``: the largest rank, one for all bonds, with which the
            cores hold at most so many numbers.
        row_shape: Row modes.
        col_shape: Column modes as the paper counts them, product ``dim``.
        n_cores: Number of cores where no list says it.
        stp_factor: ``t`` of the semi-tensor product, see
            :mod:`~recbole_compress.functional.semi_tensor_train`; 1 is the plain tensor train.

    Returns:
        The shape of the plain tensor train that the table is.

    Raises:
        ValueError: A value that does not fit, by the name it has in the config.

    Example:
        >>> choose_shape(40_727, 128, ranks=60, stp_factor=2)
        TensorTrainShape(rows=(73, 558), cols=(32, 4), ranks=(30,))
        >>> choose_shape(1_682, 64, max_numbers=1_682 * 64 / 10).n_numbers
        10624
    """
    n_cores = _agreed_cores(row_shape, col_shape, ranks, n_cores)
    most = max(_ANY_CATALOGUE, (n_rows - 1).bit_length())
    if n_cores > most:
        raise ValueError(
            f"tt_cores={n_cores}: choose at most {most} for {n_rows} items; every core beyond has "
            "a single row and makes nothing smaller"
        )
    cols = _columns(dim, n_cores, col_shape, stp_factor)
    rows = _row_modes(n_rows, cols) if row_shape is None else tuple(row_shape)
    _check_sizes("tt_row_shape", rows)
    if math.prod(rows) < n_rows:
        raise ValueError(
            f"tt_row_shape={list(rows)}: {math.prod(rows)} rows for {n_rows} items; "
            f"choose modes whose product is at least {n_rows}, or leave it out"
        )
    if row_shape is not None and math.prod(rows) > _MOST_SPARE * n_rows:
        raise ValueError(
            f"tt_row_shape={list(rows)}: {math.prod(rows)} rows for {n_rows} items, which the loss "
            "would build; choose modes whose product is not much more, or leave it out"
        )
    if max_numbers is not None:
        return _largest_within(max_numbers, rows, cols)
    if isinstance(ranks, int):
        (rank,) = effective_ranks([ranks], stp_factor)
        return _with_one_rank(rank, rows, cols)
    if ranks is None:
        raise ValueError("tt_ranks=None: give a rank, tt_ratio or tt_bytes")
    _check_sizes("tt_ranks", ranks)
    return TensorTrainShape(rows, cols, effective_ranks(ranks, stp_factor))


def _check_sizes(name: str, sizes: Sequence[int]) -> None:
    if not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes):
        raise ValueError(f"{name}={list(sizes)}: expected whole numbers from 1 up")


def _agreed_cores(
    row_shape: Sequence[int] | None,
    col_shape: Sequence[int] | None,
    ranks: int | Sequence[int] | None,
    n_cores: int,
) -> int:
    said = {}
    if row_shape is not None:
        said[f"tt_row_shape={list(row_shape)}"] = len(row_shape)
    if col_shape is not None:
        said[f"tt_col_shape={list(col_shape)}"] = len(col_shape)
    if isinstance(ranks, Sequence):
        said[f"tt_ranks={list(ranks)}"] = len(ranks) + 1
    said = said or {f"tt_cores={n_cores}": n_cores}
    if len(set(said.values())) > 1:
        counted = ", ".join(f"{what} is for {count} cores" for what, count in said.items())
        raise ValueError(f"{counted}: give d modes each, and d - 1 ranks")
    ((what, count), *_) = said.items()
    if count < 2:
        raise ValueError(f"{what}: a tensor train has two cores or more")
    return count


def _columns(
    dim: int, n_cores: int, col_shape: Sequence[int] | None, stp_factor: int
) -> tuple[int, ...]:
    """Column modes of the plain tensor train."""
    if stp_factor < 1 or dim % stp_factor:
        raise ValueError(f"stp_factor={stp_factor}: choose a divisor of the embedding size {dim}")
    if col_shape is None:
        splits = (s for s in _factorisations(dim, n_cores) if s[-1] % stp_factor == 0)
        col_shape = min(splits, key=lambda s: (max(s) / min(s), [-mode for mode in s]))
    _check_sizes("tt_col_shape", col_shape)
    if math.prod(col_shape) != dim:
        raise ValueError(
            f"tt_col_shape={list(col_shape)}: the product is {math.prod(col_shape)}; choose modes "
            f"whose product is the embedding size {dim}, or leave it out"
        )
    return effective_columns(col_shape, stp_factor)


def _factorisations(number: int, n: int) -> Iterator[tuple[int, ...]]:
    """Every way to write ``number`` as a product of ``n`` factors, order counts."""
    if n == 1:
        yield (number,)
        return
    for factor in range(1, number + 1):
        if number % factor == 0:
            for rest in _factorisations(number // factor, n - 1):
                yield (factor, *rest)


def _row_modes(n_rows: int, cols: Sequence[int]) -> tuple[int, ...]:
    """Row modes for at least ``n_rows`` rows that make ``sum(I_k * J_k)`` small."""
    equal_share = (n_rows * math.prod(cols)) ** (1 / len(cols))
    # Of many cores fewer modes each are tried, or the tries would multiply.
    reach = min(_AROUND, int((_TRIES ** (1 / (len(cols) - 1)) - 1) / 2))
    around = []
    for col in cols[:-1]:
        ideal = min(int(equal_share / col), n_rows)
        around.append(range(max(ideal - reach, 1), ideal + reach + 1))
    candidates = ((*first, -(-n_rows // math.prod(first))) for first in itertools.product(*around))

    def cost(rows: tuple[int, ...]) -> tuple[int, int]:
        return sum(i * j for i, j in zip(rows, cols, strict=True)), math.prod(rows)

    return min(candidates, key=cost)


def _full_ranks(rows: Sequence[int], cols: Sequence[int]) -> tuple[int, ...]:
    """The rank of every bond with which it can carry any table of that shape."""
    sizes = [i * j for i, j in zip(rows, cols, strict=True)]
    return tuple(
        min(math.prod(sizes[:bond]), math.prod(sizes[bond:])) for bond in range(1, len(sizes))
    )


def _useful_ranks(rows: Sequence[int], cols: Sequence[int], ranks: Sequence[int]) -> list[int]:
    """For every bond the most that its two neighbouring cores, as wide as they are, can carry."""
    sizes, bonds = [i * j for i, j in zip(rows, cols, strict=True)], (1, *ranks, 1)
    return [min(bonds[k] * sizes[k], sizes[k + 1] * bonds[k + 2]) for k in range(len(ranks))]


def _with_one_rank(rank: int, rows: tuple[int, ...], cols: tuple[int, ...]) -> TensorTrainShape:
    ranks = tuple(min(rank, most) for most in _full_ranks(rows, cols))
    return TensorTrainShape(rows, cols, ranks)


def _largest_within(
    max_numbers: float, rows: tuple[int, ...], cols: tuple[int, ...]
) -> TensorTrainShape:
    smallest = _with_one_rank(1, rows, cols)
    if smallest.n_numbers > max_numbers:
        raise ValueError(
            f"room for {int(max_numbers)} numbers ({4 * int(max_numbers)} bytes): rank 1 already "
            f"takes {smallest.n_numbers}; raise tt_bytes, lower tt_ratio or take more tt_cores"
        )
    low, high = 1, max(_full_ranks(rows, cols))
    while low < high:
        middle = (low + high + 1) // 2
        if _with_one_rank(middle, rows, cols).n_numbers <= max_numbers:
            low = middle
        else:
            high = middle - 1
    return _with_one_rank(low, rows, cols)
