"""The cost rule against the multiply-adds that torch counts."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from recbole_compress.functional.tensor_train import (
    merge_cores,
    tensor_train_rows,
    tensor_train_scores,
)
from recbole_compress.functional.tensor_train_costs import (
    reads_whole_table,
    row_costs,
    scoring_macs,
    scoring_plan,
)
from recbole_compress.functional.tensor_train_shapes import TensorTrainShape, choose_shape

PLANS = {
    2: [(1, 1), (2,)],
    3: [(1, 1, 1), (1, 2), (2, 1), (3,)],
    4: [(1, 1, 1, 1), (1, 1, 2), (1, 2, 1), (2, 1, 1), (1, 3), (2, 2), (3, 1), (4,)],
}


def counted_macs(shape: TensorTrainShape, batch: int, plan: tuple[int, ...]) -> int:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        cores = iter([torch.empty(core) for core in shape.core_shapes])
        merged = [merge_cores(list(itertools.islice(cores, size))) for size in plan]
        tensor_train_scores(merged, torch.empty(batch, shape.dim))
    return counter.get_total_flops() // 2


@settings(deadline=None, max_examples=25)
@given(
    modes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=2, max_size=4),
    rank=st.integers(1, 7),
    batch=st.integers(1, 40),
)
def test_the_plan_is_the_cheapest_by_count(modes, rank, batch):
    rows, cols = zip(*modes, strict=True)
    n_rows, dim = torch.Size(rows).numel(), torch.Size(cols).numel()
    shape = choose_shape(n_rows, dim, ranks=rank, row_shape=rows, col_shape=cols)
    counts = {plan: counted_macs(shape, batch, plan) for plan in PLANS[len(modes)]}
    for plan, counted in counts.items():
        assert scoring_macs(shape, batch, plan) == counted
    if batch == 1:
        del counts[(len(modes),)]
    assert counts[scoring_plan(shape, batch)] == min(counts.values())


@pytest.mark.parametrize(
    ("table", "rows", "cols", "rank", "t", "ratio"),
    [
        ((40_729, 128), (169, 241), (16, 8), 60, 1, 4.00),
        ((40_729, 128), (169, 241), (16, 8), 60, 2, 1.06),
        ((40_729, 128), (169, 241), (16, 8), 60, 4, 0.30),
        ((40_729, 128), (169, 241), (16, 8), 64, 8, 0.096),
        ((40_729, 128), (13, 13, 241), (8, 4, 4), 60, 2, 0.71),
        ((36_972, 256), (117, 316), (16, 16), 60, 2, 1.03),
        ((36_972, 256), (117, 316), (16, 16), 100, 2, 1.72),
        ((36_972, 256), (18, 26, 79), (8, 8, 4), 60, 2, 0.96),
    ],
)
def test_one_request_in_the_papers_tables(table, rows, cols, rank, t, ratio):
    (n, dim), ranks = table, [rank] * (len(rows) - 1)
    shape = choose_shape(n, dim, row_shape=rows, col_shape=cols, ranks=ranks, stp_factor=t)
    core_by_core = scoring_macs(shape, 1, (1,) * len(rows))
    assert core_by_core / (n * dim) == pytest.approx(ratio, abs=0.006)
    assert scoring_plan(shape, 1) == (1,) * len(rows)
    if len(rows) == 2 and ratio > 1:
        exact = core_by_core / (n * dim)
        break_even = shape.ranks[0] / (exact - 1)
        assert scoring_plan(shape, int(break_even)) == (1, 1)
        assert scoring_plan(shape, int(break_even) + 1) == (2,)
    if len(rows) == 2 and ratio < 1:
        assert scoring_plan(shape, 10**6) == scoring_plan(shape, 10**6, table_ready=True) == (1, 1)


def test_a_batch_merges_the_first_cores_of_three_once():
    shape = TensorTrainShape((13, 13, 241), (16, 4, 2), (30, 30))
    assert scoring_macs(shape, 0, (2, 1)) == 9_734_400
    assert (scoring_macs(shape, 1, (2, 1)) - 9_734_400) / (40_729 * 128) == pytest.approx(
        0.59, abs=0.01
    )
    assert scoring_plan(shape, 1) == (1, 1, 1)
    assert scoring_plan(shape, 100) == (2, 1)


def test_a_table_that_is_there_costs_its_product_only():
    shape = TensorTrainShape((169, 241), (16, 8), (60,))
    assert scoring_plan(shape, 2) == (1, 1)
    assert scoring_plan(shape, 2, table_ready=True) == (2,)
    assert scoring_plan(shape, 1, table_ready=True) == (1, 1)
    assert scoring_macs(shape, 3, (2,), table_ready=True) == 3 * 40_729 * 128


def test_lookup_costs_are_counted_too():
    shape = TensorTrainShape((5, 4, 6), (2, 3, 2), (3, 4))
    read, macs = row_costs(shape)
    with FlopCounterMode(display=False) as counter:
        cores = [torch.zeros(core) for core in shape.core_shapes]
        tensor_train_rows(cores, torch.arange(7))
    assert counter.get_total_flops() // 2 == 7 * macs
    assert read == 2 * 3 + 3 * 3 * 4 + 4 * 2
    last = shape.n_rows * shape.dim // read
    assert not reads_whole_table(shape, last) and reads_whole_table(shape, last + 1)
