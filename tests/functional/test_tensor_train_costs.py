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
    lookup_cost,
    reads_whole_table,
    row_costs,
    scoring_cost,
    scoring_macs,
    scoring_plan,
    shared_cores,
)
from recbole_compress.functional.tensor_train_shapes import TensorTrainShape, choose_shape

PLANS = {
    2: [(1, 1), (2,)],
    3: [(1, 1, 1), (1, 2), (2, 1), (3,)],
    4: [(1, 1, 1, 1), (1, 1, 2), (1, 2, 1), (2, 1, 1), (1, 3), (2, 2), (3, 1), (4,)],
}

BATCHES = (1, 2, 8, 30, 100, 300, 1_000, 10_000, 10**6)


def counted_macs(shape: TensorTrainShape, batch: int, plan: tuple[int, ...]) -> int:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        cores = iter([torch.empty(core) for core in shape.core_shapes])
        merged = [merge_cores(list(itertools.islice(cores, size))) for size in plan]
        tensor_train_scores(merged, torch.empty(batch, shape.dim))  # meta: none is computed
    return counter.get_total_flops() // 2


def written_numbers(shape: TensorTrainShape, plan: tuple[int, ...]) -> int:
    cores = iter([torch.empty(core, device="meta") for core in shape.core_shapes])
    merged = [merge_cores(list(itertools.islice(cores, size))) for size in plan]
    return sum(core.numel() for core, size in zip(merged, plan, strict=True) if size > 1)


@settings(deadline=None, max_examples=25)
@given(
    modes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=2, max_size=4),
    rank=st.integers(1, 7),
    batch=st.integers(1, 40),
)
def test_multiply_adds_are_counted_and_the_cheapest_plan_is_taken(modes, rank, batch):
    rows, cols = zip(*modes, strict=True)
    n_rows, dim = torch.Size(rows).numel(), torch.Size(cols).numel()
    shape = choose_shape(n_rows, dim, ranks=rank, row_shape=rows, col_shape=cols)
    counts = {plan: counted_macs(shape, batch, plan) for plan in PLANS[len(modes)]}
    for plan, counted in counts.items():
        assert scoring_macs(shape, batch, plan) == counted
    costs = {plan: scoring_cost(shape, batch, plan) for plan in counts}
    if batch == 1:
        del costs[(len(modes),)]
    assert costs[scoring_plan(shape, batch)] == pytest.approx(min(costs.values()))
    # Between two ways without the table, multiply-adds and what merging writes decide alone.
    without = [plan for plan in counts if len(plan) > 1]
    taken = min(without, key=lambda plan: costs[plan])
    for plan in without:
        if counts[plan] < counts[taken]:
            assert written_numbers(shape, plan) > written_numbers(shape, taken)


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
    if len(rows) == 2:
        # Batches that the table pays for are all those from some size on, or none; where it is
        # there already, from a smaller size on.
        for ready in (False, True):
            plans = [scoring_plan(shape, batch, table_ready=ready) for batch in BATCHES]
            assert plans == sorted(plans)
            assert (plans[-1] == (2,)) == (ratio > 0.6)
        assert scoring_plan(shape, 2) == (1, 1)


# What was fastest on one thread, quiet, by a factor of 1.3 or more: see benchmarks/tensor_train.py.
@pytest.mark.parametrize(
    ("t", "batch", "table_ready", "fastest"),
    [
        (1, 16, False, (1, 1)),
        (1, 16, True, (2,)),
        (1, 128, False, (2,)),
        (2, 16, True, (1, 1)),
        (2, 128, False, (1, 1)),
        (2, 128, True, (2,)),
        (2, 1024, False, (2,)),
    ],
)
def test_the_rule_takes_what_was_measured_to_be_faster(t, batch, table_ready, fastest):
    how = {"row_shape": (169, 241), "col_shape": (16, 8), "ranks": 60}
    shape = choose_shape(40_727, 128, **how, stp_factor=t)
    assert scoring_plan(shape, batch, table_ready=table_ready) == fastest


@pytest.mark.parametrize("batch", [1, 64])
def test_many_cores_are_planned_at_once(batch):
    shape = choose_shape(2**20, 2**6, ranks=4, n_cores=20)
    plan = scoring_plan(shape, batch)  # of half a million
    assert sum(plan) == 20
    assert scoring_cost(shape, batch, plan) <= scoring_cost(shape, batch, (1,) * 20)


def test_a_batch_merges_the_first_cores_of_three_once():
    shape = TensorTrainShape((13, 13, 241), (16, 4, 2), (30, 30))
    assert scoring_macs(shape, 0, (2, 1)) == 9_734_400
    assert (scoring_macs(shape, 1, (2, 1)) - 9_734_400) / (40_729 * 128) == pytest.approx(
        0.59, abs=0.01
    )
    assert scoring_plan(shape, 1) == (1, 1, 1)
    assert scoring_plan(shape, 100) == (2, 1)


def test_a_table_that_is_there_need_not_be_built():
    shape = TensorTrainShape((169, 241), (16, 8), (60,))
    assert scoring_plan(shape, 16) == (1, 1)
    assert scoring_plan(shape, 16, table_ready=True) == (2,)
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


@pytest.mark.parametrize("n", [50, 200, 1_000, 3_000])
def test_rows_made_together_cost_no_more_than_they_are_said_to(n):
    for shape in (
        TensorTrainShape((20, 200), (4, 3), (6,)),
        TensorTrainShape((13, 13, 20), (4, 3, 2), (6, 5)),
    ):
        cores = [torch.zeros(core) for core in shape.core_shapes]
        rows = torch.randperm(shape.n_rows)[:n]
        with FlopCounterMode(display=False) as counter:
            tensor_train_rows(cores, rows)
        one_by_one = n * row_costs(shape)[1]
        assert counter.get_total_flops() / 2 < 1.5 * one_by_one
        n_shared = shared_cores(shape.rows, n)
        assert n_shared == (2 if shape.n_cores == 3 and n >= 169 else 1)
        if n_shared == 2 and n >= 1_000:
            assert counter.get_total_flops() / 2 < one_by_one / 2
        assert lookup_cost(shape, n) > counter.get_total_flops() / 2


TMALL = {"row_shape": (169, 241), "col_shape": (16, 8), "ranks": 60}
LOOKED_UP = {
    "tmall": choose_shape(40_727, 128, **TMALL),
    "tmall, t = 2": choose_shape(40_727, 128, **TMALL, stp_factor=2),
    "tmall, quarter": choose_shape(40_727, 128, max_numbers=40_727 * 32, stp_factor=2),
    "retailrocket, quarter": choose_shape(36_968, 256, max_numbers=36_968 * 64, stp_factor=2),
    "three cores": TensorTrainShape((13, 13, 241), (16, 4, 2), (30, 30)),
    "million": choose_shape(1_000_000, 128, ranks=60, stp_factor=2),
}


@pytest.mark.parametrize("shape", LOOKED_UP.values(), ids=LOOKED_UP)
def test_the_table_is_read_for_many_rows_and_later_with_gradients(shape):
    counts = range(1, shape.n_rows, shape.n_rows // 200)
    kept, without, with_gradients = (
        [reads_whole_table(shape, n, **how) for n in counts]
        for how in ({"kept": True}, {}, {"gradients": True})
    )
    for reads in (kept, without, with_gradients):
        assert reads == sorted(reads)
    assert 0 < sum(with_gradients) <= sum(without) < sum(kept)
    assert not reads_whole_table(shape, 200, kept=True)  # a request's history


# What took a fifth less time or better, in turns.
@pytest.mark.parametrize(
    ("table", "n", "gradients", "from_the_table"),
    [
        ("tmall", 2_739, False, False),
        ("tmall", 12_218, True, False),
        ("tmall", 20_364, False, True),
        ("tmall, t = 2", 8_145, False, False),
        ("tmall, t = 2", 16_291, True, False),
        ("tmall, t = 2", 24_000, False, True),
        ("tmall, quarter", 486, False, False),
        ("tmall, quarter", 12_220, False, False),
        ("tmall, quarter", 12_220, True, False),
        ("tmall, quarter", 24_440, False, True),
        ("retailrocket, quarter", 2_637, True, False),
        ("retailrocket, quarter", 14_793, False, False),
        ("retailrocket, quarter", 22_190, False, True),
        ("three cores", 2_739, False, False),
        ("three cores", 12_218, True, False),
        ("three cores", 16_291, False, True),
        ("million", 300_001, False, False),
        ("million", 450_001, True, False),
    ],
)
def test_the_rule_reads_the_table_where_that_was_measured_to_be_faster(
    table, n, gradients, from_the_table
):
    assert reads_whole_table(LOOKED_UP[table], n, gradients=gradients) == from_the_table
