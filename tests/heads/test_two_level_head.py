"""TwoLevelHead against torch's adaptive softmax, and the cases where it must look into a tail."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from recbole_compress.embeddings import BlockwiseEmbedding, ItemBlocks
from recbole_compress.functional.two_level import two_level_log_softmax
from recbole_compress.heads import TiedTwoLevelHead, TwoLevelHead
from recbole_compress.heads.two_level_softmax import TwoLevelSoftmaxHead
from recbole_compress.quantization import QuantizationSpec, freeze_, quantize_
from tests.largest_allocation import largest_tensor


def blocks_in_id_order(*sizes: int) -> ItemBlocks:
    """Item blocks where id ``i`` has rank ``i - 1``."""
    return ItemBlocks(sizes, torch.arange(-1, sum(sizes), dtype=torch.int32))


def adaptive_twin(head: TwoLevelHead) -> nn.AdaptiveLogSoftmaxWithLoss:
    """torch's adaptive softmax with this head's weights; its classes are our ranks."""
    sizes = head.item_blocks.sizes
    cutoffs = list(head.item_blocks.starts[1:])
    twin = nn.AdaptiveLogSoftmaxWithLoss(
        head.embedding_dim, sum(sizes), cutoffs, div_value=2.0, head_bias=False
    ).double()
    with torch.no_grad():
        twin.head.weight.copy_(head.weight)
        for (narrow, out), projection, weight in zip(
            twin.tail, head.tail_projections, head.tail_weights, strict=True
        ):
            narrow.weight.copy_(projection)
            out.weight.copy_(weight)
    return twin


@pytest.mark.parametrize("sizes", [(7, 10), (5, 8, 11, 13)])
def test_agrees_with_torchs_adaptive_softmax(sizes):
    torch.manual_seed(3)
    dim = 16
    order = torch.cat([torch.tensor([-1]), torch.randperm(sum(sizes))]).int()
    tail_dims = [dim // 2 ** (i + 1) for i in range(len(sizes) - 1)]
    head = TwoLevelHead(ItemBlocks(sizes, order), dim, tail_dims, init_std=1.0).double()
    twin = adaptive_twin(head)

    hidden = torch.randn(60, dim, dtype=torch.float64, requires_grad=True)
    twin_hidden = hidden.detach().clone().requires_grad_()
    targets = torch.randint(1, sum(sizes) + 1, (60,))
    loss = head.loss(hidden, targets)
    twin_loss = twin(twin_hidden, order[targets].long()).loss
    assert_close(loss, twin_loss, rtol=1e-10, atol=0)

    loss.backward()
    twin_loss.backward()
    close = {"rtol": 1e-9, "atol": 1e-12}
    assert_close(hidden.grad, twin_hidden.grad, **close)
    assert_close(head.weight.grad, twin.head.weight.grad, **close)
    for (narrow, out), projection, weight in zip(
        twin.tail, head.tail_projections, head.tail_weights, strict=True
    ):
        assert_close(projection.grad, narrow.weight.grad, **close)
        assert_close(weight.grad, out.weight.grad, **close)
    assert_close(head.scores(hidden)[:, 1:], twin.log_prob(hidden)[:, order[1:].long()], **close)


def head_of_probabilities(first_level: list[float], *tails: list[float]) -> TwoLevelHead:
    """A head with exactly these probabilities for the hidden state ``[1.]``."""
    n_head = len(first_level) - len(tails)
    blocks = blocks_in_id_order(n_head, *map(len, tails))
    head = TwoLevelHead(blocks, 1, [1] * len(tails))
    with torch.no_grad():
        head.weight.copy_(torch.tensor(first_level).log()[:, None])
        for projection, weight, tail in zip(
            head.tail_projections, head.tail_weights, tails, strict=True
        ):
            projection.fill_(1.0)
            weight.copy_(torch.tensor(tail).log()[:, None])
    return head


def released_rule_top1(head: TwoLevelHead) -> int:
    """The published shortcut: open a tail iff its token is the single best head entry."""
    first_level = (torch.ones(1, 1) @ head.weight.T).log_softmax(1)[0]
    n_head = head.item_blocks.sizes[0]
    scores = head.scores(torch.ones(1, 1))[0]
    opened = set(range(1, n_head + 1))
    for i, start in enumerate(head.item_blocks.starts[1:]):
        if first_level.argmax() == n_head + i:
            opened |= set(range(start + 1, start + 1 + head.item_blocks.sizes[i + 1]))
    return max(opened, key=lambda item: scores[item].item())


def test_top1_behind_the_second_token_is_found():
    # Tokens .40 and .35, best head item .25. The first tail is spread thin over ten items, the
    # second holds one item of .35: the best of all, behind a token that is not the best entry.
    head = head_of_probabilities([0.25, 0.40, 0.35], [0.1] * 10, [1.0])
    best_item = 12
    assert head.scores(torch.ones(1, 1)).argmax() == best_item
    assert released_rule_top1(head) == 1  # the counter-example does fool the published rule
    values, ids = head.topk(torch.ones(1, 1), k=1)
    assert ids.item() == best_item
    assert_close(values.exp(), torch.tensor([[0.35]]))


def test_tails_that_cannot_contribute_stay_closed():
    head = head_of_probabilities([0.5, 0.3, 0.15, 0.05], [0.9, 0.1], [0.5, 0.5])
    hidden = torch.ones(1, 1)

    def opened(k: int) -> list[int]:
        return head._topk_counting_opened_tails(hidden, k)[2]

    # Items: .5 .3 | .135 .015 | .025 .025
    assert opened(1) == [0, 0]
    assert opened(2) == [0, 0]
    assert opened(3) == [1, 0]
    assert opened(4) == [1, 1]
    assert opened(6) == [1, 1]


def test_each_row_of_a_batch_opens_its_own_tails():
    head = TwoLevelHead(blocks_in_id_order(1, 2, 2), 3, (3, 3))
    with torch.no_grad():
        # Hidden e0 asks for the head item, e1 and e2 for one tail each before the head item.
        head.weight.copy_(torch.tensor([[10.0, 5.0, 5.0], [0.0, 10.0, 0.0], [0.0, 0.0, 10.0]]))
    hidden = torch.eye(3)[[0, 0, 1, 2]]
    _, ids, opened = head._topk_counting_opened_tails(hidden, 1)
    assert ids[:2].tolist() == [[1], [1]] and ids[2] in (2, 3) and ids[3] in (4, 5)
    assert opened == [1, 1]


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    k=st.integers(1, 30),
    rows=st.integers(1, 6),
    spread=st.sampled_from([0.1, 1.0, 5.0]),
    seed=st.integers(0, 10_000),
)
def test_topk_equals_the_full_ranking_for_any_partition(sizes, k, rows, spread, seed):
    torch.manual_seed(seed)
    dim, k = 4, min(k, sum(sizes))
    order = torch.cat([torch.tensor([-1]), torch.randperm(sum(sizes))]).int()
    head = TwoLevelHead(ItemBlocks(sizes, order), dim, [dim] * (len(sizes) - 1), init_std=spread)
    head.double()
    hidden = torch.randn(rows, dim, dtype=torch.float64)
    with torch.no_grad():
        expected = head.scores(hidden).topk(k, dim=1)
        for training in (True, False, False):  # built, built and kept, kept
            values, ids = head.train(training).topk(hidden, k)
            assert_close(values, expected.values, rtol=1e-10, atol=1e-12)
            assert torch.equal(ids, expected.indices)


def two_level() -> TwoLevelHead:
    return TwoLevelHead(blocks_in_id_order(4, 6, 9), 8, (4, 2), init_std=1.0)


def tied_two_level() -> TiedTwoLevelHead:
    embedding = BlockwiseEmbedding(blocks_in_id_order(4, 6, 9), 8, (8, 4, 2), init_std=1.0)
    head = TiedTwoLevelHead(embedding)
    head.owner = embedding  # a model registers it
    return head


@pytest.mark.parametrize("make", [two_level, tied_two_level])
def test_scores_are_made_of_the_factors(make):
    head, hidden = make(), torch.randn(3, 8)
    first_level, tails = head.factors()
    assert first_level.shape == (4 + 2, 8)
    assert [(p.shape, w.shape) for p, w in tails] == [((4, 8), (6, 4)), ((2, 8), (9, 2))]
    by_rank = two_level_log_softmax(hidden, first_level, tails)
    assert_close(head.scores(hidden)[:, 1:], by_rank)


def test_names_in_checkpoints_stay_what_they_were():
    blocks = ["item_blocks.rank_of_id"]
    own, shared = two_level(), tied_two_level()
    del shared.owner
    projections = [f"tail_projections.{i}" for i in range(2)]
    weights = [f"tail_weights.{i}" for i in range(2)]
    assert list(own.state_dict()) == ["weight", *blocks, *projections, *weights]
    assert list(shared.state_dict()) == ["tokens", *blocks, *projections]


def copies_tables(head: TwoLevelSoftmaxHead, hidden: Tensor) -> bool:
    """Whether a request does: nothing else in it is as large as what meets the hidden state."""
    met = 4 + 2 + 4 + 2  # popular items, tokens, projections
    return largest_tensor(lambda: head.topk(hidden, 5)) >= met * 8


def ways_to_change(head: TwoLevelSoftmaxHead, hidden: Tensor):
    """Everything that gives a head other weights, one after the other."""
    optimizer = torch.optim.Adam(head.parameters(), lr=0.3)
    with torch.enable_grad():
        head.loss(hidden, torch.randint(1, 20, (len(hidden),))).backward()
    yield optimizer.step()
    yield head.load_state_dict(
        {k: v * 1.5 if v.is_floating_point() else v for k, v in head.state_dict().items()}
    )
    yield head.double().float()
    for parameter in head.parameters():
        with torch.no_grad():
            yield parameter.add_(torch.randn_like(parameter))


@pytest.mark.parametrize("make", [two_level, tied_two_level])
def test_what_requests_keep_is_never_older_than_the_weights(make):
    torch.manual_seed(2)
    head, hidden = make().eval(), torch.randn(3, 8)
    n_changes = 0
    for _ in ways_to_change(head, hidden):
        n_changes += 1
        with torch.no_grad():
            assert copies_tables(head, hidden) and not copies_tables(head, hidden)
            expected = head.scores(hidden).topk(5)
            values, ids = head.topk(hidden, 5)
        assert_close(values, expected.values)
        assert torch.equal(ids, expected.indices)
    assert n_changes > 6


def test_what_requests_keep_is_never_older_than_integers():
    torch.manual_seed(2)
    head, hidden = tied_two_level().eval(), torch.randn(3, 8)
    quantize_(head.embedding, QuantizationSpec(weight_bits=4, table_bits=4))
    freeze_(head.embedding)  # codes and scales are no parameters
    tables = head.embedding.state_dict().items()
    other = {k: v if "rank" in k else v.flip(0) for k, v in tables}
    with torch.no_grad():
        head.topk(hidden, 5)
        assert not copies_tables(head, hidden)
        head.embedding.load_state_dict(other)
        assert_close(head.topk(hidden, 5)[0], head.scores(hidden).topk(5).values)


def test_what_a_request_under_autocast_keeps_is_exact():
    embedding = BlockwiseEmbedding(blocks_in_id_order(4, 6, 9), 8, (4, 2, 2), head_projection=True)
    head, hidden = TiedTwoLevelHead(embedding).eval(), torch.randn(3, 8)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            head.topk(hidden, 5)
        values, _ = head.topk(hidden, 5)
        assert_close(values, head.scores(hidden).topk(5).values, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", [two_level, tied_two_level])
def test_what_requests_keep_is_no_part_of_the_model(make):
    head, hidden = make().eval(), torch.randn(3, 8)
    names = list(head.state_dict())
    with torch.no_grad():
        assert copies_tables(head, hidden) and not copies_tables(head, hidden)
        assert list(head.state_dict()) == names
        assert copies_tables(copy.deepcopy(head), hidden)
        assert copies_tables(head.train().eval(), hidden)
    # With gradients: a new one each time, and differentiable.
    assert copies_tables(head, hidden) and head.topk(hidden, 5)[0].requires_grad


def test_values_of_the_best_items_have_gradients():
    torch.manual_seed(4)
    head, hidden = two_level(), torch.randn(2, 8, requires_grad=True)
    values, ids = head.topk(hidden, 19)
    (grad,) = torch.autograd.grad((values * torch.arange(19.0)).sum(), hidden)
    scores = head.scores(hidden).gather(1, ids)
    (expected,) = torch.autograd.grad((scores * torch.arange(19.0)).sum(), hidden)
    assert_close(grad, expected, rtol=1e-4, atol=1e-5)


def test_item_blocks_are_shared_not_copied_and_travel_with_the_weights():
    blocks = ItemBlocks((2, 2), torch.tensor([-1, 3, 0, 2, 1], dtype=torch.int32))
    head = TwoLevelHead(blocks, 3, (2,))
    assert head.item_blocks is blocks
    assert "item_blocks.rank_of_id" in head.state_dict()


def test_single_precision_batches_agree_with_the_loss():
    torch.manual_seed(5)
    head = TwoLevelHead(blocks_in_id_order(20, 30, 50), 8, (4, 2), init_std=0.5)
    hidden, targets = torch.randn(33, 8), torch.randint(1, 101, (33,))
    loss: Tensor = -head(hidden, targets).mean()
    assert_close(head.loss(hidden, targets), loss, rtol=1e-5, atol=1e-6)
