"""Repeated items by the pointer, new ones by any head: values, loss, gradients, exact ranking."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from recbole_compress.backbones import Pointer
from recbole_compress.functional.pointed_states import pointed_scores, unpack_pointers
from recbole_compress.heads import ItemHead, PointerHead, UntiedHead
from tests.heads.test_head_conformance import CASES, DIM

LENGTH = 4
N = 40


@pytest.fixture(params=[name for name in CASES if name != "untied-one-item"])
def case(request) -> tuple[PointerHead, Tensor]:
    torch.manual_seed(7)
    new_items, _ = CASES[request.param]()
    new_items.double()
    with torch.no_grad():
        for parameter in new_items.parameters():
            parameter.add_(torch.randn_like(parameter))
            if len(parameter) == new_items.num_embeddings:
                parameter[0] = 0.0
    return PointerHead(new_items), states_for(new_items)


def states_for(head: ItemHead) -> Tensor:
    pointer = Pointer(DIM, LENGTH).double()
    with torch.no_grad():
        pointer.weight.normal_()
    item_seq = torch.randint(1, head.num_embeddings, (N, LENGTH))
    lengths = torch.arange(N) % (LENGTH + 1)
    item_seq = item_seq * (torch.arange(LENGTH) < lengths.unsqueeze(1))
    vectors = torch.randn(N, 1, DIM, dtype=torch.float64)
    return pointer(vectors, item_seq, lengths.unsqueeze(1)).squeeze(1).detach().requires_grad_()


def targets_for(head: PointerHead, states: Tensor) -> Tensor:
    """Half of them items of their own sequence, where it has any."""
    items = unpack_pointers(states, DIM).items.amax(1)
    anything = torch.randint(1, head.num_embeddings, (N,))
    return torch.where((torch.arange(N) % 2 == 0) & (items > 0), items, anything)


def test_new_items_are_those_of_the_other_head(case) -> None:
    head, states = case
    alone = head.new_items.scores(unpack_pointers(states, DIM).vectors)
    expected = pointed_scores(alone.detach(), unpack_pointers(states, DIM))
    scores = head.scores(states)
    assert scores.is_contiguous() and (scores[:, 0] == -torch.inf).all()
    assert_close(scores, expected, rtol=1e-10, atol=1e-10)
    assert (scores.exp().sum(1) < 1 + 1e-9).all()


def test_the_loss_is_what_the_targets_score(case) -> None:
    head, states = case
    targets = targets_for(head, states)
    leaves = [states, *head.parameters()]
    ours = 3 * head.loss(states, targets)
    expected = -3 * head.scores(states).gather(1, targets.unsqueeze(1)).mean()
    assert_close(ours, expected, rtol=1e-10, atol=1e-10)
    got = torch.autograd.grad(ours, leaves)
    for gradient, reference in zip(got, torch.autograd.grad(expected, leaves), strict=True):
        assert_close(gradient, reference, rtol=1e-8, atol=1e-10)


def test_repeated_targets_ask_nothing_of_the_catalogue(case) -> None:
    head, states = case
    some = unpack_pointers(states, DIM).items.amax(1) > 0
    states, targets = states[some], unpack_pointers(states, DIM).items.amax(1)[some]
    head.loss(states, targets).backward()
    assert not any(p.grad is not None and p.grad.any() for p in head.parameters())


def test_no_targets_give_zero(case) -> None:
    head, states = case
    assert head.loss(states[:0], torch.zeros(0, dtype=torch.long)) == 0


def test_a_scorer_gives_the_same(case) -> None:
    head, states = case
    scores, tensors = head.scorer()
    assert_close(scores(states)[:, 1:], head.scores(states)[:, 1:], rtol=1e-10, atol=1e-10)
    assert all(tensor.requires_grad for tensor in tensors)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_soft_targets_are_those_of_its_scores(case, temperature) -> None:
    head, states = case
    wanted = torch.randn(N, head.num_embeddings, dtype=torch.float64)
    leaves = [states, *head.parameters()]
    ours = head.soft_target_loss(states, wanted.__getitem__, temperature)
    p = (wanted[:, 1:] / temperature).softmax(1)
    q = (head.scores(states)[:, 1:] / temperature).log_softmax(1)
    expected = temperature**2 * (p * (p.log() - q)).sum(1).mean()
    assert_close(ours, expected, rtol=1e-9, atol=1e-9)
    got = torch.autograd.grad(ours, leaves)
    for gradient, reference in zip(got, torch.autograd.grad(expected, leaves), strict=True):
        assert_close(gradient, reference, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("k", [1, 5, "all"])
def test_topk_is_the_full_ranking(case, k) -> None:
    head, states = case
    n_items = head.num_embeddings - 1
    k = n_items if k == "all" else min(k, n_items)
    with torch.no_grad():
        values, ids = head.topk(states, k)
        expected = head.scores(states).topk(k, dim=1)
    assert_close(values, expected.values, rtol=1e-9, atol=1e-9)
    assert torch.equal(ids, expected.indices)


def test_forward_gathers_scores(case) -> None:
    head, states = case
    ids = torch.arange(N) % head.num_embeddings
    expected = head.scores(states).gather(1, ids.unsqueeze(1)).squeeze(1)
    assert_close(head(states, ids), expected, rtol=1e-10, atol=1e-10)


def test_what_is_no_item_is_refused() -> None:
    head = PointerHead(UntiedHead(9, DIM))
    states = states_for(head).float()
    with pytest.raises(ValueError, match="0 is padding"):
        head.loss(states[:1], torch.tensor([0]))
    with pytest.raises(ValueError, match="k=9"):
        head.topk(states, 9)
