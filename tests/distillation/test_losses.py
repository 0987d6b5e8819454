"""The losses against their definitions: values, gradients, chunks, what is 0."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from recbole_compress.distillation import Views, info_nce, predictive_loss, soft_target_loss
from recbole_compress.functional.sum_in_chunks import sum_in_chunks
from tests.largest_allocation import LargestAllocation

N, DIM, ITEMS = 9, 4, 13


def soft_targets(hidden, table, wanted, **options):
    return soft_target_loss(
        hidden, lambda h: h @ table.T, [table], wanted.__getitem__, ITEMS, **options
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_soft_targets_are_zero_for_equal_models_and_only_then(temperature):
    hidden, table = torch.randn(N, DIM), torch.randn(ITEMS, DIM)
    equal = hidden @ table.T
    assert soft_targets(hidden, table, equal, temperature=temperature).abs() < 1e-6
    shifted = equal + torch.randn(N, 1)  # the same distribution
    shifted[:, 0] = -torch.inf  # padding has no part in it
    assert soft_targets(hidden, table, shifted, temperature=temperature).abs() < 1e-6
    other = equal.clone()
    other[:, 5] += 3
    assert soft_targets(hidden, table, other, temperature=temperature) > 1e-4


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_soft_targets_are_the_divergence_that_torch_computes(reduction):
    hidden = torch.randn(N, DIM, requires_grad=True)
    table = torch.randn(ITEMS, DIM, requires_grad=True)
    wanted = torch.randn(N, ITEMS)
    ours = soft_targets(hidden, table, wanted, temperature=2.0, reduction=reduction, chunk_size=4)
    told = ((hidden @ table.T)[:, 1:] / 2).log_softmax(1)
    truth = 4 * F.kl_div(told, (wanted[:, 1:] / 2).softmax(1), reduction="batchmean")
    truth = truth * (N if reduction == "sum" else 1)
    torch.testing.assert_close(ours, truth)
    ours_of = torch.autograd.grad(ours, [hidden, table])
    torch.testing.assert_close(ours_of, torch.autograd.grad(truth, [hidden, table]))
    assert not ours_of[1][0].any()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_soft_and_hard_targets_from_the_same_scores(temperature, reduction):
    hidden = torch.randn(N, DIM, requires_grad=True)
    table = torch.randn(ITEMS, DIM, requires_grad=True)
    wanted, targets = torch.randn(N, ITEMS), torch.randint(1, ITEMS, (N,))
    options = {"temperature": temperature, "reduction": reduction, "chunk_size": 4}
    ours = soft_targets(hidden, table, wanted, **options, targets=targets, weights=(0.7, 0.3))
    divergence = soft_targets(hidden, table, wanted, **options)
    told = F.cross_entropy((hidden @ table.T)[:, 1:], targets - 1)
    truth = 0.7 * divergence + 0.3 * told
    torch.testing.assert_close(ours, truth)
    ours_of = torch.autograd.grad(2 * ours, [hidden, table])
    torch.testing.assert_close(ours_of, torch.autograd.grad(2 * truth, [hidden, table]))


def test_a_weight_for_targets_that_are_not_given():
    with pytest.raises(ValueError, match="a cross-entropy needs targets"):
        soft_targets(*(torch.zeros(ITEMS, ITEMS),) * 3, weights=(0.5, 0.5))


def test_scores_of_half_precision():
    hidden, table = torch.randn(N, DIM), torch.randn(ITEMS, DIM)
    wanted = torch.randn(N, ITEMS).half()
    exact = soft_targets(hidden, table, wanted.float())
    torch.testing.assert_close(soft_targets(hidden, table, wanted), exact)


def test_soft_targets_never_hold_the_whole_matrix_and_ask_the_teacher_once():
    asked = []

    def wanted(rows):
        asked.append((rows.start, rows.stop))
        return torch.zeros(rows.stop - rows.start, ITEMS)

    hidden = torch.randn(N, DIM, requires_grad=True)
    table = torch.randn(ITEMS, DIM)
    with LargestAllocation() as largest:
        soft_target_loss(hidden, lambda h: h @ table.T, [], wanted, ITEMS, chunk_size=2).backward()
    assert largest.numel < N * ITEMS
    assert asked == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 9)]


def test_a_teacher_gets_no_gradient():
    teacher = torch.randn(N, ITEMS, requires_grad=True)
    hidden = torch.randn(N, DIM, requires_grad=True)
    table = torch.randn(ITEMS, DIM)
    soft_targets(hidden, table, teacher).backward()
    assert teacher.grad is None and hidden.grad.any()


def test_info_nce_is_cross_entropy_over_the_other_rows():
    first = torch.randn(N, DIM, requires_grad=True)
    second = torch.randn(N, DIM, requires_grad=True)
    cosine = F.normalize(first) @ F.normalize(second).T
    truth = F.cross_entropy(cosine / 0.2, torch.arange(N))
    torch.testing.assert_close(info_nce(first, second), truth)
    torch.testing.assert_close(info_nce(first, second, reduction="sum"), N * truth)
    ours = torch.autograd.grad(info_nce(first, second), [first, second])
    torch.testing.assert_close(ours, torch.autograd.grad(truth, [first, second]))


def test_rows_of_one_group_are_no_negatives_of_each_other():
    first, second = torch.randn(4, DIM), torch.randn(4, DIM)
    groups = torch.tensor([1, 1, 2, 3])
    cosine = F.normalize(first) @ F.normalize(second).T / 0.5
    expected = []
    for row, negatives in enumerate([[2, 3], [2, 3], [0, 1, 3], [0, 1, 2]]):
        among = cosine[row, [row, *negatives]]
        expected.append(-among.log_softmax(0)[0])
    ours = info_nce(first, second, temperature=0.5, groups=groups)
    torch.testing.assert_close(ours, torch.stack(expected).mean())


def test_predictive_loss_reads_each_view_in_its_own_space():
    student, teacher = torch.randn(ITEMS, 4), torch.randn(ITEMS, 6)
    views, targets = Views(torch.randn(N, 4), torch.randn(N, 6)), torch.randint(ITEMS, (N,))
    ours = predictive_loss(
        views,
        targets,
        lambda hidden, y: F.cross_entropy(hidden @ student.T, y),
        lambda hidden, y: F.cross_entropy(hidden @ teacher.T, y),
    )
    first = F.cross_entropy(F.normalize(views.first) @ student.T, targets)
    torch.testing.assert_close(
        ours, first + F.cross_entropy(F.normalize(views.second) @ teacher.T, targets)
    )


def test_no_rows_give_zero():
    none = torch.zeros(0, DIM, requires_grad=True)
    table = torch.randn(ITEMS, DIM, requires_grad=True)
    assert soft_targets(none, table, torch.zeros(0, ITEMS)) == 0
    assert info_nce(none, none) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature=0.0: choose"),
        ({"reduction": "max"}, "reduction='max': choose 'mean' or 'sum'"),
    ],
)
def test_refuses(options, message):
    rows, table = torch.randn(2, DIM), torch.randn(ITEMS, DIM)
    with pytest.raises(ValueError, match=message):
        info_nce(rows, rows, **options)
    with pytest.raises(ValueError, match=message):
        soft_targets(rows, table, torch.zeros(2, ITEMS), **options)


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 50])
def test_sum_in_chunks_sends_gradients_everywhere(chunk_size):
    rows = [torch.randn(5, 3, requires_grad=True), torch.randn(5, 3)]
    leaf = torch.randn(3, requires_grad=True)
    shared = [leaf.exp(), torch.randn(3, requires_grad=True)]  # one that was built, and one unused

    def total(which, a, b):
        return (a * b * shared[0]).sin().sum()

    ours = sum_in_chunks(total, rows, shared, chunk_size)
    truth = total(slice(0, 5), *rows)
    torch.testing.assert_close(ours, truth)
    for _ in range(2):  # a second backward pass finds the gradients still there
        found = torch.autograd.grad(3 * ours, [rows[0], leaf], retain_graph=True)
    wanted = torch.autograd.grad(3 * truth, [rows[0], leaf])
    torch.testing.assert_close(found, wanted)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(ours, [leaf], create_graph=True)
