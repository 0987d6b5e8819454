"""Shapes: the paper's sizes, and a shape for every catalogue."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_compress.functional.tensor_train_shapes import TensorTrainShape, choose_shape

TMALL, RETAILROCKET = (40_729, 128), (36_972, 256)


@pytest.mark.parametrize(
    ("table", "rows", "cols", "rank", "t", "numbers", "ratio"),
    [
        (TMALL, (169, 241), (16, 8), 60, 2, 191_160, 27.27),
        (TMALL, (169, 241), (16, 8), 60, 1, 277_920, 18.8),
        (TMALL, (169, 241), (16, 8), 60, 4, 169_470, 30.8),
        (TMALL, (169, 241), (16, 8), 64, 8, 174_984, 29.8),
        (TMALL, (13, 13, 241), (8, 4, 4), 60, 2, 67_500, 77.2),
        (RETAILROCKET, (117, 316), (16, 16), 60, 2, 188_160, 50.3),
        (RETAILROCKET, (117, 316), (16, 16), 100, 2, 313_600, 30.18),
        (RETAILROCKET, (18, 26, 79), (8, 8, 4), 60, 2, 200_580, 47.2),
    ],
)
def test_sizes_of_the_papers_tables(table, rows, cols, rank, t, numbers, ratio):
    (n, dim), ranks = table, [rank] * (len(rows) - 1)
    shape = choose_shape(n, dim, row_shape=rows, col_shape=cols, ranks=ranks, stp_factor=t)
    assert shape.n_numbers == numbers
    assert n * dim / shape.n_numbers == pytest.approx(ratio, abs=0.06)
    assert shape.n_rows == n and shape.dim == dim


def test_columns_come_out_as_the_paper_has_them():
    for dim, cols in ((128, (16, 8)), (256, (16, 16)), (128, (8, 4, 4)), (256, (8, 8, 4))):
        assert choose_shape(1000, dim, ranks=2, n_cores=len(cols)).cols == cols
    assert choose_shape(1000, 61, ranks=2).cols == (61, 1)


@settings(deadline=None, max_examples=80)
@given(
    n_rows=st.integers(1, 50_000),
    dim=st.sampled_from([1, 7, 12, 64]),
    n_cores=st.integers(2, 4),
    t=st.sampled_from([1, 2, 4, 7]),
    rank=st.integers(1, 9),
)
def test_every_catalogue_gets_a_shape(n_rows, dim, n_cores, t, rank):
    if dim % t:
        with pytest.raises(ValueError, match=f"stp_factor={t}: choose a divisor"):
            choose_shape(n_rows, dim, ranks=rank * t, n_cores=n_cores, stp_factor=t)
        return
    shape = choose_shape(n_rows, dim, ranks=rank * t, n_cores=n_cores, stp_factor=t)
    assert shape.n_cores == n_cores and shape.dim == dim and shape.cols[0] % t == 0
    assert max(shape.ranks) <= rank
    # Fewer rows than one step of the last mode are in vain.
    assert 0 <= shape.n_rows - n_rows < math.prod(shape.rows[:-1])


def test_two_cores_are_as_small_as_can_be():
    for n_rows, dim, t in ((997, 64, 2), (12_101, 64, 1), (36_968, 12, 4), (40_961, 8, 1)):
        shape = choose_shape(n_rows, dim, ranks=t, stp_factor=t)
        first, last = shape.cols
        smallest = min(i * first + -(-n_rows // i) * last for i in range(1, n_rows + 1))
        assert shape.n_numbers == smallest


@pytest.mark.parametrize("n_cores", [2, 3])
@pytest.mark.parametrize("max_numbers", [1_000, 5_000, 20_000, 10**7])
def test_a_budget_gets_the_largest_rank_within_it(n_cores, max_numbers):
    shape = choose_shape(2_003, 64, max_numbers=max_numbers, n_cores=n_cores, stp_factor=2)
    assert shape.n_numbers <= max_numbers
    next_larger = choose_shape(
        2_003, 64, ranks=2 * (max(shape.ranks) + 1), n_cores=n_cores, stp_factor=2
    )
    assert next_larger.n_numbers > max_numbers or next_larger == shape  # full already


def test_a_rank_beyond_what_a_bond_can_carry_is_cut_but_not_in_a_list():
    shape = choose_shape(20, 6, ranks=1_000, row_shape=(4, 5), col_shape=(3, 2))
    assert shape.ranks == (10,)
    with pytest.raises(ValueError, match=r"tt_ranks=\[11\].*beyond \[10\] adds nothing"):
        choose_shape(20, 6, ranks=[11], row_shape=(4, 5), col_shape=(3, 2))


def test_a_rank_beyond_what_its_neighbours_carry_is_refused():
    with pytest.raises(ValueError, match=r"tt_ranks=\[1, 4\].*beyond \[2, 2\] adds nothing"):
        TensorTrainShape(rows=(2, 2, 8), cols=(1, 1, 1), ranks=(1, 4))
    with pytest.raises(ValueError, match=r"tt_ranks=\[4, 1\].*beyond \[2, 2\] adds nothing"):
        TensorTrainShape(rows=(8, 2, 2), cols=(1, 1, 1), ranks=(4, 1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stp_factor": 0}, "stp_factor=0: choose a divisor of the embedding size 8"),
        ({"stp_factor": 3}, "stp_factor=3: choose a divisor of the embedding size 8"),
        ({"stp_factor": 4, "col_shape": [4, 2]}, "stp_factor=4: .* last column mode, 2 in"),
        ({"stp_factor": 4, "ranks": 6}, r"tt_ranks=\[6\], stp_factor=4: choose ranks"),
        ({"ranks": 0}, r"tt_ranks=\[0\]"),
        ({"n_cores": 100}, "tt_cores=100: choose at most 8 for 20 items"),
        ({"ranks": None}, "tt_ranks=None: give a rank, tt_ratio or tt_bytes"),
        ({"ranks": ["a"]}, r"tt_ranks=\['a'\]: expected whole numbers"),
        ({"row_shape": [4, 4]}, r"tt_row_shape=\[4, 4\]: 16 rows for 20 items"),
        ({"row_shape": [9, 9]}, r"tt_row_shape=\[9, 9\]: 81 rows for 20 items, .* not much more"),
        ({"row_shape": [-4, -5]}, r"tt_row_shape=\[-4, -5\]: expected whole numbers"),
        ({"col_shape": [4, 4]}, r"tt_col_shape=\[4, 4\]: the product is 16; .* size 8"),
        ({"col_shape": [4.0, 2]}, "tt_col_shape=.*expected whole numbers"),
        ({"row_shape": [4, 5], "col_shape": [2, 2, 2]}, "is for 2 cores, .* is for 3 cores"),
        ({"n_cores": 1}, "tt_cores=1: a tensor train has two cores or more"),
        ({"row_shape": [20]}, r"tt_row_shape=\[20\]: a tensor train has two"),
        ({"max_numbers": 10}, r"room for 10 numbers \(40 bytes\): rank 1 already takes \d+"),
    ],
)
def test_what_does_not_fit_gets_one_clear_line(given, message):
    with pytest.raises(ValueError, match=message) as error:
        choose_shape(20, 8, **{"ranks": 2, **given})
    assert "\n" not in str(error.value)


def test_shapes_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="give d row modes"):
        TensorTrainShape((4, 5), (2, 3), (1, 1))


@settings(deadline=None, max_examples=40)
@given(
    n_rows=st.integers(2, 400),
    dim=st.sampled_from([8, 12, 64]),
    ratio=st.floats(1.5, 12),
    t=st.sampled_from([1, 2]),
)
def test_a_size_buys_the_largest_rank_of_any_rows(n_rows, dim, ratio, t):
    budget = {"max_numbers": n_rows * dim / ratio, "stp_factor": t}
    try:
        shape = choose_shape(n_rows, dim, **budget)
    except ValueError as error:
        assert "rank 1 already takes" in str(error)
        shape = None
    for first in range(1, n_rows + 1):
        rows = (first, -(-n_rows // first))
        try:
            other = choose_shape(n_rows, dim, row_shape=rows, **budget)
        except ValueError as error:
            assert "rank 1 already takes" in str(error)
            continue
        assert shape is not None, rows
        full = min(i * j for i, j in zip(rows, other.cols, strict=True))
        # Where the rank is all that the rows can carry, more of it would be of no use.
        assert other.ranks <= shape.ranks or other.ranks[0] == full


@pytest.mark.parametrize("n_cores", [6, 8, 10])
def test_many_cores_are_found_at_once(n_cores):
    shape = choose_shape(40_727, 1024, ranks=2, n_cores=n_cores)
    assert len(shape.rows) == n_cores and math.prod(shape.rows) >= 40_727
    # Little more than is needed, and no mode far from the others.
    assert math.prod(shape.rows) < 3 * 40_727 and max(shape.rows) <= 32
