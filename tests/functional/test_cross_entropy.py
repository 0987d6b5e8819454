"""linear_cross_entropy is F.cross_entropy of a linear layer, without its logits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from recbole_compress.functional.cross_entropy import (
    blockwise_cross_entropy,
    default_chunk_size,
    linear_cross_entropy,
)
from tests.largest_allocation import LargestAllocation


def naive(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    first_class: int = 0,
    reduction: str = "mean",
) -> Tensor:
    logits = hidden @ weight[first_class:].T
    if bias is not None:
        logits = logits + bias[first_class:]
    return F.cross_entropy(logits, targets - first_class, reduction=reduction)


def problem(
    n: int, n_classes: int, dim: int, first_class: int = 0, scale: float = 1.0, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden, weight and bias (float64 leaves) and targets."""
    draw = torch.Generator().manual_seed(seed)

    def leaf(*shape: int) -> Tensor:
        values = torch.randn(*shape, generator=draw, dtype=torch.float64) * scale
        return values.requires_grad_()

    n_rows = n_classes + first_class
    targets = torch.randint(first_class, n_rows, (n,), generator=draw)
    return leaf(n, dim), leaf(n_rows, dim), leaf(n_rows), targets


def as_float32(*tensors: Tensor) -> Iterator[Tensor]:
    return (t.detach().float().requires_grad_() for t in tensors)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 23),
    n_classes=st.integers(1, 31),
    dim=st.integers(1, 7),
    first_class=st.integers(0, 2),
    chunk_size=st.one_of(st.none(), st.integers(1, 25)),
    with_bias=st.booleans(),
    reduction=st.sampled_from(["mean", "sum"]),
    scale=st.sampled_from([0.1, 1.0, 10.0]),
)
def test_value_and_gradients_are_those_of_the_dense_loss(
    n, n_classes, dim, first_class, chunk_size, with_bias, reduction, scale
):
    hidden, weight, bias, targets = problem(n, n_classes, dim, first_class, scale)
    parameters = (hidden, weight, bias) if with_bias else (hidden, weight)
    used_bias = bias if with_bias else None
    ours = linear_cross_entropy(
        hidden,
        weight,
        targets,
        used_bias,
        first_class=first_class,
        reduction=reduction,
        chunk_size=chunk_size,
    )
    truth = naive(hidden, weight, targets, used_bias, first_class, reduction)
    assert_close(ours, truth, rtol=1e-10, atol=1e-10)
    gradients = torch.autograd.grad(ours, parameters)
    for got, expected in zip(gradients, torch.autograd.grad(truth, parameters), strict=True):
        assert_close(got, expected, rtol=1e-9, atol=1e-10)
    assert all(not g[:first_class].any() for g in gradients[1:])


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
@pytest.mark.parametrize(("n", "n_classes", "dim"), [(257, 507, 64), (96, 1009, 17)])
def test_float32_error_is_no_worse_than_the_dense_losss_own(n, n_classes, dim, scale):
    exact = problem(n, n_classes, dim, scale=scale)
    targets = exact[3]

    def value_and_gradients(loss, *parameters: Tensor) -> list[Tensor]:
        value = loss(parameters[0], parameters[1], targets, parameters[2])
        return [value, *torch.autograd.grad(value, parameters)]

    truth = value_and_gradients(naive, *exact[:3])
    dense = value_and_gradients(naive, *as_float32(*exact[:3]))
    ours = value_and_gradients(linear_cross_entropy, *as_float32(*exact[:3]))
    for mine, reference, true in zip(ours, dense, truth, strict=True):
        own_error = (reference - true).abs().max()
        tolerance = 1e-6 * true.abs().max()
        assert (mine - true).abs().max() <= own_error + tolerance


@pytest.mark.parametrize("chunk_size", [1, 6, 7, 8, 14, 1000])
def test_chunk_boundaries_change_nothing(chunk_size):
    hidden, weight, _, targets = problem(14, 11, 3)
    whole = linear_cross_entropy(hidden, weight, targets, chunk_size=14)
    ours = linear_cross_entropy(hidden, weight, targets, chunk_size=chunk_size)
    assert_close(ours, whole, rtol=1e-12, atol=0)
    for got, expected in zip(
        torch.autograd.grad(ours, (hidden, weight)),
        torch.autograd.grad(whole, (hidden, weight)),
        strict=True,
    ):
        assert_close(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("first_class, n_classes", [(0, None), (1, None), (1, 9)])
def test_what_is_excluded_is_no_class_of_its_row(chunk_size, first_class, n_classes):
    hidden, weight, bias, targets = problem(7, 9 if n_classes else 12, 4, first_class)
    if n_classes:  # rows behind the classes
        weight, bias = (
            torch.cat([t.detach(), t.detach()[:2]]).requires_grad_() for t in (weight, bias)
        )
    excluded = torch.randint(-2, 14, (7, 5), generator=torch.Generator().manual_seed(4))
    excluded[0] = excluded[0, 0]  # the same one several times
    excluded[excluded == targets.unsqueeze(1)] = -1
    leaves = [hidden, weight, bias]
    ours = linear_cross_entropy(
        *(hidden, weight, targets, bias),
        first_class=first_class,
        n_classes=n_classes,
        excluded=excluded,
        chunk_size=chunk_size,
    )
    end = len(weight) if n_classes is None else first_class + n_classes
    logits = (hidden @ weight.T + bias)[:, first_class:end]
    barred = torch.zeros_like(logits, dtype=torch.bool)
    for row, classes in enumerate(excluded.tolist()):
        for one in classes:
            if first_class <= one < end:
                barred[row, one - first_class] = True
    expected = F.cross_entropy(logits.masked_fill(barred, -torch.inf), targets - first_class)
    assert_close(ours, expected, rtol=1e-10, atol=1e-10)
    got = torch.autograd.grad(ours, leaves)
    for gradient, reference in zip(got, torch.autograd.grad(expected, leaves), strict=True):
        assert_close(gradient, reference, rtol=1e-9, atol=1e-11)


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    width=st.integers(1, 5),
    chunk_size=st.one_of(st.none(), st.integers(1, 8)),
    scale=st.sampled_from([0.1, 1.0, 10.0]),
    some_excluded=st.booleans(),
)
def test_blocks_of_their_own_widths_are_one_softmax(sizes, width, chunk_size, scale, some_excluded):
    parts = [problem(6, size, width + k, scale=scale, seed=k) for k, size in enumerate(sizes)]
    hidden, weights = [part[0] for part in parts], [part[1] for part in parts]
    draw = torch.Generator().manual_seed(9)
    targets = torch.randint(sum(sizes), (6,), generator=draw)
    excluded = torch.randint(-1, sum(sizes) + 2, (6, 3), generator=draw)
    excluded[excluded == targets.unsqueeze(1)] = -1
    logits = torch.cat([h @ w.T for h, w in zip(hidden, weights, strict=True)], 1)
    if some_excluded:
        barred = F.one_hot(excluded.clamp(min=-1) + 1, sum(sizes) + 3).amax(1).bool()
        logits = logits.masked_fill(barred[:, 1:-2], -torch.inf)
    truth = F.cross_entropy(logits, targets)
    ours = blockwise_cross_entropy(
        hidden,
        weights,
        targets,
        excluded=excluded if some_excluded else None,
        chunk_size=chunk_size,
    )
    assert_close(ours, truth, rtol=1e-10, atol=1e-10)
    expected = torch.autograd.grad(truth, [*hidden, *weights])
    found = torch.autograd.grad(ours, [*hidden, *weights])
    for gradient, reference in zip(found, expected, strict=True):
        assert_close(gradient, reference, rtol=1e-9, atol=1e-11)


def test_blocks_that_do_not_fit_are_refused():
    hidden, weight, _, targets = problem(3, 5, 2)
    with pytest.raises(ValueError, match="1 hidden and 2 weights: expected as many"):
        blockwise_cross_entropy([hidden], [weight, weight], targets)
    with pytest.raises(ValueError, match=r"expected \(N, dim\)"):
        blockwise_cross_entropy([hidden, hidden], [weight, weight[:, :1]], targets)
    with pytest.raises(ValueError, match="expected classes from 0 to 9"):
        blockwise_cross_entropy([hidden, hidden], [weight, weight], targets + 10)


def test_a_hopeless_target_stays_finite_beside_what_is_excluded():
    hidden = torch.tensor([[1.0]]).requires_grad_()
    weight = torch.tensor([[200.0], [0.0], [300.0]])
    loss = linear_cross_entropy(hidden, weight, torch.tensor([1]), excluded=torch.tensor([[2]]))
    assert_close(loss, torch.tensor(200.0))


def test_hopeless_and_certain_targets_stay_finite():
    # Logits 1e4 apart: the target's probability underflows to 0, its loss is 1e4.
    hidden = torch.tensor([[1e2], [1e2], [-1e2]], requires_grad=True)
    weight = torch.tensor([[-5e1], [0.0], [5e1]], requires_grad=True)
    targets = torch.tensor([0, 2, 0])
    for chunk_size in (1, 2, None):
        ours = linear_cross_entropy(hidden, weight, targets, reduction="sum", chunk_size=chunk_size)
        truth = naive(hidden, weight, targets, reduction="sum")
        assert_close(ours, torch.tensor(1e4), rtol=1e-6, atol=0)
        for got, expected in zip(
            torch.autograd.grad(ours, (hidden, weight)),
            torch.autograd.grad(truth, (hidden, weight)),
            strict=True,
        ):
            assert_close(got, expected, rtol=1e-6, atol=1e-6)


def test_no_targets_give_zero_loss_and_zero_gradients():
    hidden, weight, _, targets = problem(0, 5, 3)
    for reduction in ("mean", "sum"):
        loss = linear_cross_entropy(hidden, weight, targets, reduction=reduction)
        gradients = torch.autograd.grad(loss, (hidden, weight))
        assert loss == 0
        assert gradients[0].shape == (0, 3)
        assert not gradients[1].any()


def test_the_loss_can_be_scaled_used_twice_and_walked_back_twice():
    hidden, weight, _, targets = problem(9, 5, 3)

    def used_twice(loss) -> Tensor:
        value = loss(hidden, weight, targets)
        return 3 * value + value**2 + loss(hidden * 2, weight, targets)

    ours, truth = used_twice(linear_cross_entropy), used_twice(naive)
    expected = torch.autograd.grad(truth, (hidden, weight))
    for _ in range(2):
        got = torch.autograd.grad(ours, (hidden, weight), retain_graph=True)
        assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_gradients_only_where_they_are_asked_for():
    hidden, weight, _, targets = problem(6, 5, 3)
    linear_cross_entropy(hidden, weight.detach(), targets).backward()
    assert hidden.grad is not None and weight.grad is None
    linear_cross_entropy(hidden.detach(), weight, targets).backward()
    assert_close(weight.grad, torch.autograd.grad(naive(hidden, weight, targets), weight)[0])
    with torch.no_grad():
        loss = linear_cross_entropy(hidden, weight, targets)
    assert not loss.requires_grad
    assert_close(loss, naive(hidden, weight, targets).detach())
    assert not linear_cross_entropy(hidden.detach(), weight.detach(), targets).requires_grad


def test_a_second_derivative_is_refused_not_wrong():
    hidden, weight, _, targets = problem(6, 5, 3)
    loss = linear_cross_entropy(hidden, weight, targets)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss, hidden, create_graph=True)


def test_non_contiguous_inputs():
    hidden, weight, _, targets = problem(8, 6, 4)
    odd_hidden = hidden.T.contiguous().T[::2]
    odd_weight = weight.T.contiguous().T
    odd_targets = targets[::2]
    assert not odd_hidden.is_contiguous() and not odd_weight.is_contiguous()
    ours = linear_cross_entropy(odd_hidden, odd_weight, odd_targets, chunk_size=3)
    truth = naive(odd_hidden, odd_weight, odd_targets)
    assert_close(ours, truth)
    assert_close(
        torch.autograd.grad(ours, (hidden, weight)), torch.autograd.grad(truth, (hidden, weight))
    )


def test_half_precision_computes_in_float32():
    hidden, weight, _, targets = problem(8, 30, 4)
    hidden, weight = as_float32(hidden, weight)
    plain = linear_cross_entropy(hidden, weight, targets)
    with torch.autocast("cpu", dtype=torch.float16):  # too short for small probabilities
        cast = linear_cross_entropy(hidden, weight, targets)
    assert_close(cast, plain, rtol=0, atol=0)

    half = hidden.detach().bfloat16().requires_grad_()
    loss = linear_cross_entropy(half, weight, targets)
    loss.backward()
    assert loss.dtype == torch.float32 and half.grad.dtype == torch.bfloat16
    assert_close(loss, naive(half.float(), weight, targets))


@pytest.mark.parametrize("n_classes", [30, 5000])
def test_autocast_rounds_as_it_rounds_a_linear_layer(n_classes):
    hidden, weight, bias, targets = problem(300, n_classes, 16)
    leaves = list(as_float32(hidden, weight, bias))

    def loss_and_gradients(loss_function, **options):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden, weight, bias = leaves
            loss = loss_function(hidden, weight, targets, bias, **options)
        return loss.detach(), *torch.autograd.grad(loss, leaves)

    exact = naive(*leaves[:2], targets, leaves[2])
    exact = exact.detach(), *torch.autograd.grad(exact, leaves)
    rounded = loss_and_gradients(naive)
    ours = loss_and_gradients(linear_cross_entropy, chunk_size=64)
    for own, theirs, wanted in zip(ours, rounded, exact, strict=True):
        assert own.dtype == torch.float32
        allowed = max(2 * float((theirs - wanted).norm()), 1e-3 * float(wanted.norm()))
        assert 0 < (own - wanted).norm() < allowed


def test_no_tensor_grows_with_targets_times_classes():
    n, n_classes, dim, chunk_size = 512, 1000, 8, 32
    hidden, weight, _, targets = problem(n, n_classes, dim)
    hidden, weight = as_float32(hidden, weight)
    # The dense loss is seen by the same gauge, so the gauge works.
    for loss, limit_holds in ((linear_cross_entropy, True), (naive, False)):
        options = {"chunk_size": chunk_size} if limit_holds else {}
        with LargestAllocation() as largest:
            loss(hidden, weight, targets, **options).backward()
        assert (largest.numel <= chunk_size * n_classes) is limit_holds
        assert limit_holds or largest.numel >= n * n_classes


def test_evaluation_allocates_no_gradient():
    hidden, weight, _, targets = problem(32, 1000, 64)
    for grad_enabled in (False, True):
        with torch.set_grad_enabled(grad_enabled), LargestAllocation() as largest:
            linear_cross_entropy(hidden, weight, targets, chunk_size=4)
        assert (largest.numel >= weight.numel()) is grad_enabled


def test_default_chunks_bound_the_buffer():
    assert all(64 <= default_chunk_size(n) <= 256 for n in (0, 1, 3_417, 54_542, 10**7))
    assert all(64 <= default_chunk_size(n, "cuda") <= 4096 for n in (0, 1, 3_417, 54_542, 10**7))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": torch.tensor([0, 1])}, "targets from 0 to 1: expected classes from 1 to 4"),
        ({"targets": torch.tensor([1, 5])}, "targets from 1 to 5: expected classes from 1 to 4"),
        ({"targets": torch.tensor([1])}, r"targets \(1,\)"),
        ({"weight": torch.zeros(5, 2)}, r"weight \(5, 2\)"),
        ({"bias": torch.zeros(4)}, r"bias \(4,\): expected one number per weight row"),
        (
            {"excluded": torch.zeros(3, 1)},
            r"excluded \(3, 1\): expected classes for every row, \(2",
        ),
        ({"reduction": "none"}, "reduction='none': choose"),
        ({"chunk_size": 0}, "chunk_size=0: choose 1 or more"),
    ],
)
def test_wrong_inputs_get_one_clear_line(change, message):
    inputs = {
        "hidden": torch.zeros(2, 3),
        "weight": torch.zeros(5, 3),
        "targets": torch.tensor([1, 4]),
        "first_class": 1,
    }
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(**(inputs | change))


@pytest.mark.parametrize("transposed", [False, True])
def test_rows_behind_the_classes_are_none(transposed):
    torch.manual_seed(8)
    stored = torch.randn(4, 11) if transposed else torch.randn(11, 4)
    stored.requires_grad_()
    weight = stored.T if transposed else stored
    hidden, targets = torch.randn(6, 4), torch.tensor([1, 2, 7, 7, 3, 1])
    loss = linear_cross_entropy(hidden, weight, targets, first_class=1, n_classes=7)
    expected = F.cross_entropy(hidden @ weight[1:8].T, targets - 1)
    torch.testing.assert_close(loss, expected)
    (grad,) = torch.autograd.grad(loss, stored)
    (expected_grad,) = torch.autograd.grad(expected, stored)
    torch.testing.assert_close(grad, expected_grad)
    outside = (grad.T if transposed else grad)[[0, 8, 9, 10]]
    assert not outside.any()
    for wrong, told in (({"n_classes": 6}, "classes from 1 to 6"), ({"n_classes": 11}, "11 rows")):
        with pytest.raises(ValueError, match=told):
            linear_cross_entropy(hidden, weight, targets, first_class=1, **wrong)
