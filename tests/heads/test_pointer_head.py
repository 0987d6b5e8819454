"""Repeated items by the pointer, new ones by any head: values, loss, gradients, exact ranking."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from recbole_compress.backbones import Pointer
from recbole_compress.functional.pointed_states import pack_pointers, unpack_pointers
from recbole_compress.heads import ItemHead, PointerHead, TwoLevelHead, UntiedHead
from recbole_compress.heads.two_level_softmax import TwoLevelSoftmaxHead
from tests.heads.head_cases import CASES, DIM, shuffled_blocks

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
    head, states = PointerHead(new_items), states_for(new_items)
    head.leaves = [states, *head.parameters()]
    # As in a model, where the tables that a tied head reads belong to the input side.
    for shared in ("owner", "head_projection"):
        if hasattr(new_items, shared):
            delattr(new_items, shared)
    return head, states


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


def truth(head: PointerHead, states: Tensor) -> Tensor:
    """Row by row and item by item, from the other head's own scores where there is one softmax."""
    vectors, gate, log_shares, items = unpack_pointers(states, DIM)
    # Where the sequence holds all there is, nothing is new.
    gate = gate.masked_fill((items > 0).sum(1) == head.num_embeddings - 1, torch.inf)
    alone = head.new_items.scores(vectors)
    rows = []
    for row in range(len(states)):
        here = [item for item in items[row].tolist() if item]
        among = [item for item in range(1, head.num_embeddings) if item not in here]
        of_new = alone[row, among].log_softmax(0) + F.logsigmoid(-gate[row])
        place = {item: items[row].tolist().index(item) for item in here}
        pointed = {i: log_shares[row, place[i]] + F.logsigmoid(gate[row]) for i in here}
        told = {**dict(zip(among, of_new.unbind(), strict=True)), **pointed}
        rows.append(torch.stack([told[item] for item in range(1, head.num_embeddings)]))
    return F.pad(torch.stack(rows), (1, 0), value=-torch.inf)


def test_scores_are_a_distribution_over_all_items(case) -> None:
    head, states = case
    scores = head.scores(states)
    assert scores.is_contiguous() and (scores[:, 0] == -torch.inf).all()
    total = scores.exp().sum(1)
    assert_close(total, torch.ones_like(total), rtol=1e-9, atol=0)
    if not isinstance(head.new_items, TwoLevelSoftmaxHead):
        assert_close(scores, truth(head, states), rtol=1e-9, atol=1e-9)


def test_a_two_level_head_leaves_items_out_at_both_levels() -> None:
    torch.manual_seed(3)
    blocks = shuffled_blocks(6, 9)
    new_items = TwoLevelHead(blocks, DIM, tail_dims=(3,)).double()
    head, states = PointerHead(new_items), None
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    states = states_for(head)
    vectors, gate, _, items = unpack_pointers(states, DIM)
    scores = head.scores(states)
    first = vectors @ new_items.weight.T
    within = vectors @ new_items.tail_projections[0].T @ new_items.tail_weights[0].T
    for row in range(N):
        ranks = [int(blocks.rank_of_id[item]) for item in items[row] if item]
        popular = [rank for rank in range(6) if rank not in ranks]
        rare = [rank for rank in range(9) if rank + 6 not in ranks]
        level = first[row, [*popular, 6]].log_softmax(0)
        tail = level[-1] + within[row, rare].log_softmax(0)
        for ranks_of, values in ((popular, level), ([r + 6 for r in rare], tail)):
            ids = blocks.id_of_rank[ranks_of]
            expected = values[: len(ids)] + F.logsigmoid(-gate[row])
            assert_close(scores[row, ids], expected, rtol=1e-9, atol=1e-9)


def test_a_tail_without_another_item_takes_no_place_in_the_ranking() -> None:
    torch.manual_seed(3)
    blocks = shuffled_blocks(8, 1)
    new_items = TwoLevelHead(blocks, DIM, tail_dims=(2,))
    with torch.no_grad():
        new_items.weight[8] = 5.0  # the token of that tail
    rare = int(blocks.id_of_rank[8])
    packed = pack_pointers(
        torch.ones(1, DIM), torch.tensor([-8.0]), torch.zeros(1, 1), torch.tensor([[rare]])
    )
    head = PointerHead(new_items).eval()
    with torch.no_grad():
        for k in range(1, 10):
            assert torch.equal(head.topk(packed, k)[1], head.scores(packed).topk(k, dim=1)[1])
        assert head.topk(packed, 8)[1].ne(rare).all()


def test_the_loss_is_what_the_targets_score(case) -> None:
    head, states = case
    targets = targets_for(head, states)
    leaves = head.leaves
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
    assert not any(p.grad is not None and p.grad.any() for p in head.leaves[1:])


def test_no_targets_give_zero(case) -> None:
    head, states = case
    assert head.loss(states[:0], torch.zeros(0, dtype=torch.long)) == 0


def test_a_scorer_gives_the_same(case) -> None:
    head, states = case
    scores, tensors = head.scorer()
    assert_close(scores(states)[:, 1:], head.scores(states)[:, 1:], rtol=1e-10, atol=1e-10)
    assert all(tensor.requires_grad for tensor in tensors)


@pytest.mark.parametrize("chunk", [None, 2])
def test_soft_and_hard_targets_together(case, chunk) -> None:
    head, states = case
    head.new_items.chunk_size = chunk
    wanted = torch.randn(N, head.num_embeddings, dtype=torch.float64)
    same, targets = wanted.clone(), torch.arange(N) % (head.num_embeddings - 1) + 1
    leaves, asked = head.leaves, []
    ours = head.soft_target_loss(
        states,
        lambda rows: asked.append(rows) or wanted[rows],
        targets=targets,
        weights=(0.3, 0.7),
    )
    log_probs = head.scores(states)
    p = wanted[:, 1:].softmax(1)
    expected = 0.3 * (p * (p.log() - log_probs[:, 1:])).sum(1).mean()
    expected = expected - 0.7 * log_probs.gather(1, targets.unsqueeze(1)).mean()
    assert_close(ours, expected, rtol=1e-9, atol=1e-9)
    got = torch.autograd.grad(ours, leaves)
    for gradient, reference in zip(got, torch.autograd.grad(expected, leaves), strict=True):
        assert_close(gradient, reference, rtol=1e-7, atol=1e-9)
    # The teacher is asked once for every row, and its answers may be read again.
    assert [row for rows in asked for row in range(N)[rows]] == [*range(N)]
    assert torch.equal(wanted, same)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_soft_targets_are_those_of_its_scores(case, temperature) -> None:
    head, states = case
    wanted = torch.randn(N, head.num_embeddings, dtype=torch.float64)
    leaves = head.leaves
    ours = head.soft_target_loss(states, wanted.__getitem__, temperature)
    p = (wanted[:, 1:] / temperature).softmax(1)
    q = head.scores(states)[:, 1:]  # log-probabilities, so nothing is left to normalize
    if temperature != 1:
        q = (q / temperature).log_softmax(1)
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
    expected = head.scores(states).gather(1, ids.unsqueeze(1))
    assert_close(head(states, ids), expected.squeeze(1), rtol=1e-10, atol=1e-10)
    assert_close(head.item_scores(states, ids.unsqueeze(1)), expected, rtol=1e-10, atol=1e-10)


def test_what_is_no_item_is_refused() -> None:
    head = PointerHead(UntiedHead(9, DIM))
    states = states_for(head).float()
    with pytest.raises(ValueError, match="0 is padding"):
        head.loss(states[:1], torch.tensor([0]))
    with pytest.raises(ValueError, match="k=9"):
        head.topk(states, 9)


@pytest.mark.parametrize("n_items", [1, 2])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_sequence_of_all_items_leaves_nothing_to_new_ones(n_items, temperature) -> None:
    head = PointerHead(UntiedHead(n_items + 1, DIM))
    item_seq = torch.arange(1, n_items + 1)[None]
    states = Pointer(DIM, LENGTH)(torch.randn(1, 1, DIM), item_seq, torch.tensor([[n_items]]))[0]
    scores, target = head.scores(states).detach(), torch.tensor([1])
    assert_close(head.loss(states, target), -scores[0, 1])
    assert float(scores.exp().sum()) == pytest.approx(1)
    itself = head.soft_target_loss(states, lambda rows: scores[rows], temperature)
    assert float(itself.detach()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", ["untied", "two_level"])
def test_half_precision_has_numbers_for_all_that_is_left_out(kind) -> None:
    torch.manual_seed(3)
    blocks = shuffled_blocks(6, 9)
    alone = UntiedHead(16, DIM) if kind == "untied" else TwoLevelHead(blocks, DIM, tail_dims=(3,))
    head = PointerHead(alone)
    states = states_for(head).detach().float()
    with torch.autocast("cpu", torch.float16):
        scores, best = head.scores(states), head.topk(states, k=3)
    assert_close(scores.float(), head.scores(states), rtol=0.01, atol=0.01)
    assert_close(best[0].float(), head.topk(states, k=3)[0], rtol=0.01, atol=0.01)


def test_more_items_than_floats_can_count_are_refused() -> None:
    many = UntiedHead(3, DIM)
    many.num_embeddings = 2**24 + 1
    with pytest.raises(ValueError, match=r"16,777,217 items: .* choose repeats=none"):
        PointerHead(many)
