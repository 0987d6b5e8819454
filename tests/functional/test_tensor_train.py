"""Tensor-train functions against the table they stand for, entry by entry."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from recbole_compress.functional import tensor_train
from recbole_compress.functional.semi_tensor_train import effective_columns, effective_ranks
from recbole_compress.functional.tensor_train import (
    frobenius_norm,
    merge_cores,
    normal_cores,
    tensor_train_rows,
    tensor_train_scores,
    tensor_train_table,
)
from recbole_compress.functional.tensor_train_shapes import TensorTrainShape, choose_shape
from recbole_compress.functional.tensor_train_svd import tensor_train_svd
from tests.largest_allocation import largest_tensor

SHAPES = {
    "2": TensorTrainShape((4, 5), (3, 2), (3,)),
    "3": TensorTrainShape((3, 2, 4), (2, 3, 2), (4, 3)),
    "4": TensorTrainShape((2, 3, 1, 2), (2, 1, 3, 2), (2, 3, 2)),
    "ranks-of-one": TensorTrainShape((3, 2, 2), (1, 2, 3), (1, 1)),
}


@pytest.fixture(params=SHAPES)
def shape(request) -> TensorTrainShape:
    return SHAPES[request.param]


@pytest.fixture
def cores(shape) -> list[Tensor]:
    torch.manual_seed(2)
    return [torch.randn(core, dtype=torch.float64).requires_grad_() for core in shape.core_shapes]


def by_definition(shape: TensorTrainShape, cores: list[Tensor]) -> Tensor:
    entries = []
    for i in itertools.product(*map(range, shape.rows)):
        for j in itertools.product(*map(range, shape.cols)):
            slices = [core[:, b, a, :] for core, a, b in zip(cores, i, j, strict=True)]
            product = slices[0]
            for matrix in slices[1:]:
                product = product @ matrix
            entries.append(product.squeeze())
    return torch.stack(entries).view(shape.n_rows, shape.dim)


def assert_same(ours: Tensor, expected: Tensor, leaves: list[Tensor]) -> None:
    """Equal values, and equal gradients of every leaf for any upstream gradient."""
    assert_close(ours, expected, rtol=1e-10, atol=1e-12)
    upstream = torch.randn_like(ours)
    got = torch.autograd.grad((ours * upstream).sum(), leaves)
    wanted = torch.autograd.grad((expected * upstream).sum(), leaves, retain_graph=True)
    for gradient, reference in zip(got, wanted, strict=True):
        assert_close(gradient, reference, rtol=1e-9, atol=1e-10)


def test_the_table_is_the_definition(shape, cores):
    assert_same(tensor_train_table(cores), by_definition(shape, cores), cores)


def test_rows_are_those_of_the_table_repeats_included(shape, cores):
    rows = torch.cat([torch.arange(shape.n_rows), torch.tensor([1, 1, 0])])
    assert_same(tensor_train_rows(cores, rows), tensor_train_table(cores)[rows], cores)
    assert tensor_train_rows(cores, rows[:0]).shape == (0, shape.dim)


@pytest.mark.parametrize("elements", [1, 300, 2**18])  # a product at a time, a few, all
@pytest.mark.parametrize("n", [1, 40, 170, 1_000])
@pytest.mark.parametrize(
    "shape",
    [
        TensorTrainShape((20, 30), (4, 3), (5,)),
        TensorTrainShape((30, 5), (3, 4), (5,)),
        TensorTrainShape((5, 4, 30), (2, 3, 2), (3, 4)),
        TensorTrainShape((3, 4, 5, 10), (2, 1, 3, 2), (2, 3, 2)),
    ],
    ids=str,
)
def test_rows_made_together_are_those_of_the_table(shape, n, elements, monkeypatch):
    monkeypatch.setattr(tensor_train, "_BUFFER_ELEMENTS", elements)
    torch.manual_seed(n)
    cores = [torch.randn(core).double().requires_grad_() for core in shape.core_shapes]
    table = tensor_train_table(cores)
    anywhere = torch.randint(shape.n_rows, (n,))
    for rows in (anywhere, anywhere**2 // shape.n_rows, anywhere * 0 + 7):  # alike, unlike, one
        assert_same(tensor_train_rows(cores, rows), table[rows], cores)
        assert_same(tensor_train_rows(cores, rows.int()), table[rows], cores)


def test_looking_up_gathers_no_more_than_a_buffer_and_a_second_derivative_is_refused(monkeypatch):
    monkeypatch.setattr(tensor_train, "_BUFFER_ELEMENTS", 2_000)
    shape = TensorTrainShape((20, 300), (4, 2), (30,))
    cores = [core.requires_grad_() for core in normal_cores(shape, 1.0)]
    rows = torch.randperm(shape.n_rows)[:1_500]
    largest_core = max(core.numel() for core in cores)
    largest = largest_tensor(lambda: tensor_train_rows(cores, rows).sum().backward())
    assert largest <= max(largest_core, 2 * 1_500 * shape.dim) < 1_500 * 4 * 30  # all first slices
    (gradient,) = torch.autograd.grad(
        tensor_train_rows(cores, rows).square().sum(), cores[:1], create_graph=True
    )
    with pytest.raises(RuntimeError, match="differentiat"):
        gradient.sum().backward()


def test_autocast_leaves_rows_exact(cores):
    cores = [core.detach().float() for core in cores]
    rows = torch.arange(10)
    expected = tensor_train_rows(cores, rows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(tensor_train_rows(cores, rows), expected, rtol=0, atol=0)


@pytest.mark.parametrize("batch", [1, 7])
def test_scores_are_products_with_the_table_whatever_is_merged(shape, cores, batch):
    hidden = torch.randn(batch, shape.dim, dtype=torch.float64, requires_grad=True)
    expected = hidden @ tensor_train_table(cores).T
    assert_same(tensor_train_scores(cores, hidden), expected, [hidden, *cores])
    for cut in range(1, shape.n_cores):
        merged = [merge_cores(cores[:cut]), merge_cores(cores[cut:])]
        assert_same(tensor_train_scores(merged, hidden), expected, [hidden, *cores])
    assert_same(tensor_train_scores([merge_cores(cores)], hidden), expected, [hidden, *cores])


def test_the_norm_is_that_of_the_table(cores):
    assert_close(frobenius_norm(cores), tensor_train_table(cores).norm())


@pytest.mark.parametrize("n_cores", [2, 3, 4, 5])
def test_the_initial_standard_deviation_is_the_promised_one(n_cores):
    shape = TensorTrainShape((4,) * n_cores, (3,) * n_cores, (2,) * (n_cores - 1))
    table = tensor_train_table(normal_cores(shape, 0.05))
    assert table.square().mean().sqrt().item() == pytest.approx(0.05, rel=1e-3)
    large = TensorTrainShape((8,) * n_cores, (2,) * n_cores, (8,) * (n_cores - 1))
    for core in normal_cores(large, 0.05):  # and no core carries it alone
        expected = (0.05**2 / 8 ** (n_cores - 1)) ** (1 / (2 * n_cores))
        assert core.std().item() == pytest.approx(expected, rel=0.35)


# -- semi-tensor train -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "cols", "ranks", "t"),
    [
        ((4, 5), (2, 6), (6,), 1),
        ((4, 5), (2, 6), (6,), 2),
        ((4, 5), (2, 6), (6,), 3),
        ((4, 5), (2, 6), (6,), 6),
        ((2, 3, 4), (2, 1, 4), (4, 4), 2),
        ((2, 3, 4), (2, 3, 4), (4, 8), 4),
        ((2, 3, 2, 2), (2, 1, 3, 2), (2, 4, 2), 2),
    ],
)
def test_a_semi_tensor_train_is_a_tensor_train_of_another_shape(rows, cols, ranks, t):
    """The paper's cores, joined by ``A (B ⊗ I_t)``, against ours with the same numbers."""
    torch.manual_seed(0)
    shape = TensorTrainShape(rows, effective_columns(cols, t), effective_ranks(ranks, t))
    d, right_ranks = len(rows), (*shape.ranks[1:], 1)
    first = torch.randn(rows[0] * cols[0], ranks[0], dtype=torch.float64)
    others = [
        torch.randn(shape.ranks[k], rows[k + 1] * shape.cols[k + 1] * right_ranks[k]).double()
        for k in range(d - 1)
    ]

    joined = first
    for rank, other in zip(ranks, others, strict=True):
        joined = joined.reshape(-1, rank) @ torch.kron(other, torch.eye(t, dtype=torch.float64))
    # Its axes: i_1, j_1, i_2, j_2, ... and at last s.
    pairs = [size for k in range(d) for size in (rows[k], (*cols[:1], *shape.cols[1:])[k])]
    axes = [*range(0, 2 * d, 2), *range(1, 2 * d, 2), 2 * d]
    theirs = joined.reshape(*pairs, t).permute(axes).reshape(shape.n_rows, shape.dim)

    ours = [first.view(rows[0], cols[0], shape.ranks[0], t).permute(1, 3, 0, 2)]
    ours[0] = ours[0].reshape(shape.core_shapes[0])
    for other, (r, j, i, r_next) in zip(others, shape.core_shapes[1:], strict=True):
        ours.append(other.view(r, i, j, r_next).transpose(1, 2))
    table = tensor_train_table(ours).reshape(-1, cols[0], t, shape.dim // cols[0] // t)
    assert_close(table.transpose(2, 3).reshape(theirs.shape), theirs)
    assert first.numel() + sum(other.numel() for other in others) == shape.n_numbers


# -- from a dense table ----------------------------------------------------------------------------


def test_full_ranks_hold_any_table():
    table = torch.randn(19, 12, dtype=torch.float64)
    for rows, cols, ranks in (
        ((4, 5), (3, 4), (12,)),
        ((2, 2, 5), (3, 2, 2), (6, 10)),
    ):
        shape = TensorTrainShape(rows, cols, ranks)
        cores = tensor_train_svd(table, shape)
        assert [core.shape for core in cores] == list(shape.core_shapes)
        assert_close(tensor_train_table(cores)[:19], table)
        sizes = torch.stack([core.square().mean() for core in cores])
        assert_close(sizes, sizes[:1].expand_as(sizes))


def test_two_cores_miss_the_table_by_the_singular_values_left_out():
    table = torch.randn(20, 6, dtype=torch.float64)
    shape = TensorTrainShape((4, 5), (3, 2), (5,))
    unfolded = table.view(4, 5, 3, 2).permute(2, 0, 3, 1).reshape(12, 10)
    left_out = torch.linalg.svdvals(unfolded)[5:]
    error = (tensor_train_table(tensor_train_svd(table, shape)) - table).norm()
    assert_close(error, left_out.norm())


@pytest.mark.parametrize("structured", [0.0, 1.0])
def test_large_bonds_are_sketched_and_miss_hardly_more(structured, monkeypatch):
    shape = TensorTrainShape((150, 140), (8, 8), (6,))
    chance = torch.Generator().manual_seed(2)
    table = torch.randn(21_000, 64, generator=chance)
    few = torch.randn(21_000, 5, generator=chance) @ torch.randn(5, 64, generator=chance)
    table += structured * few
    unfolded = table.view(150, 140, 8, 8).permute(2, 0, 3, 1).reshape(1200, 1120)
    best = torch.linalg.svdvals(unfolded)[6:].norm()
    decomposed, svd = [], torch.linalg.svd

    def watched(matrix, full_matrices):
        decomposed.append(min(matrix.shape))
        return svd(matrix, full_matrices=full_matrices)

    monkeypatch.setattr(torch.linalg, "svd", watched)
    before = torch.get_rng_state()
    cores = tensor_train_svd(table, shape)
    assert torch.equal(torch.get_rng_state(), before) and decomposed == [22]
    assert (tensor_train_table(cores) - table).norm() <= 1.01 * best
    torch.manual_seed(11)
    for core, again in zip(cores, tensor_train_svd(table, shape), strict=True):
        assert torch.equal(core, again)


def test_large_bonds_of_enough_rank_are_exact():
    shape = TensorTrainShape((150, 140), (8, 8), (6,))
    cores = normal_cores(shape, std=0.1)
    table = tensor_train_table([core.double() for core in cores])
    assert_close(tensor_train_table(tensor_train_svd(table, shape)), table)


def test_three_cores_are_near_the_best_there_is():
    table = torch.randn(12, 8, dtype=torch.float64)
    shape = TensorTrainShape((2, 3, 2), (2, 2, 2), (2, 2))
    by_bond = table.view(2, 3, 2, 2, 2, 2).permute(3, 0, 4, 1, 5, 2)
    bounds = [
        torch.linalg.svdvals(by_bond.reshape(math.prod(by_bond.shape[:cut]), -1))[2:].norm()
        for cut in (2, 4)
    ]
    error = (tensor_train_table(tensor_train_svd(table, shape)) - table).norm()
    assert max(bounds) <= error * (1 + 1e-9)
    assert error <= math.hypot(*bounds) * (1 + 1e-9)


def test_half_precision_and_zeros_and_misfits():
    shape = TensorTrainShape((2, 3), (2, 2), (4,))
    table = torch.randn(6, 4).half()
    assert_close(tensor_train_table(tensor_train_svd(table, shape)), table.float())
    assert not tensor_train_table(tensor_train_svd(torch.zeros(6, 4), shape)).any()
    for misfit in (torch.zeros(7, 4), torch.zeros(6, 5), torch.zeros(6)):
        with pytest.raises(ValueError, match="expected at most 6 rows of 4"):
            tensor_train_svd(misfit, shape)


@pytest.mark.parametrize("batch", [0, 1, 3, 7])
def test_scores_of_a_few_rows_at_a_time_are_those_of_all(batch, monkeypatch):
    torch.manual_seed(9)
    cores = normal_cores(TensorTrainShape((5, 4, 6), (2, 3, 2), (3, 4)), std=1.0)
    hidden = torch.randn(batch, 12)
    expected = hidden @ tensor_train_table(cores).T
    for elements in (1, 2_000, 2**18):  # a row at a time, a few, all
        monkeypatch.setattr(tensor_train, "_BUFFER_ELEMENTS", elements)
        with torch.no_grad():
            scores = tensor_train_scores(cores, hidden)
        assert scores.is_contiguous()
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


def test_many_large_cores_are_neither_zeros_nor_nan():
    shape = choose_shape(1_000_000, 64, n_cores=20, ranks=100)
    cores = normal_cores(shape, std=0.02)
    assert all(0 < float(core.square().mean()) < 1 for core in cores)
