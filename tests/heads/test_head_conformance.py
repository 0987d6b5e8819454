"""Every item head is its dense truth in disguise: one suite, each head adds only that truth."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from recbole_compress.embeddings import DenseEmbedding
from recbole_compress.heads import ItemHead, LowRankHead, TiedHead, TwoLevelHead, UntiedHead
from recbole_compress.heads.two_level_softmax import TwoLevelSoftmaxHead
from recbole_compress.quantization import QuantizationSpec, quantize_
from tests.heads.head_cases import CASES, DIM, Truth, shuffled_blocks


@pytest.fixture(params=CASES)
def case(request) -> tuple[ItemHead, Truth]:
    torch.manual_seed(7)
    head, truth = CASES[request.param]()
    head.double()
    with torch.no_grad():  # spread out, so that scores differ and rankings are clear
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter))
            if len(parameter) == head.num_embeddings:
                parameter[0] = 0.0  # a padding row stays what training leaves it
    return head, truth


def hidden_states(n: int) -> Tensor:
    return torch.randn(n, DIM, dtype=torch.float64).requires_grad_()


class TestItemHeadContract:
    def test_scores_are_the_truth_in_id_order(self, case):
        head, truth = case
        hidden = hidden_states(9)
        scores = head.scores(hidden)
        assert scores.shape == (9, head.num_embeddings)
        assert scores.is_contiguous()
        assert (scores[:, 0] == -torch.inf).all()
        assert_close(scores, truth(hidden), rtol=1e-10, atol=1e-10)
        if isinstance(head, TwoLevelSoftmaxHead):
            assert_close(scores.exp().sum(1), torch.ones(9).double(), rtol=1e-10, atol=0)

    def test_the_caller_may_write_into_scores(self, case):
        head, _ = case
        hidden = hidden_states(3)
        with torch.no_grad():
            before = head.scores(hidden)
            head.scores(hidden).fill_(0.0)
            assert_close(head.scores(hidden), before, rtol=0, atol=0)

    def test_loss_and_gradients_are_those_of_the_truth(self, case):
        head, truth = case
        hidden = hidden_states(40)
        targets = torch.randint(1, head.num_embeddings, (40,))
        self.compare_losses(head, truth, hidden, targets)

    def test_targets_that_touch_few_items(self, case):
        # One id only: for the two-level head all tails but one, or all of them, stay untouched.
        head, truth = case
        for item in {1, head.num_embeddings - 1}:
            hidden = hidden_states(5)
            self.compare_losses(head, truth, hidden, torch.full((5,), item))

    @staticmethod
    def compare_losses(head: ItemHead, truth: Truth, hidden: Tensor, targets: Tensor) -> None:
        leaves = [hidden, *head.parameters()]
        # Computed twice and added, so that gradients meet an incoming factor and an accumulation.
        ours = 2 * head.loss(hidden, targets) + head.loss(hidden, targets)
        expected = 3 * F.cross_entropy(truth(hidden), targets)
        assert_close(ours, expected, rtol=1e-10, atol=1e-10)
        got = torch.autograd.grad(ours, leaves)
        wanted = torch.autograd.grad(expected, leaves)
        for gradient, reference in zip(got, wanted, strict=True):
            assert_close(gradient, reference, rtol=1e-8, atol=1e-10)

    def test_chunk_size_does_not_change_the_loss(self, case):
        head, _ = case
        hidden, targets = hidden_states(11), torch.randint(1, head.num_embeddings, (11,))
        whole = head.loss(hidden, targets)
        head.chunk_size = 3
        assert_close(head.loss(hidden, targets), whole, rtol=1e-12, atol=1e-12)

    def test_no_targets_give_zero(self, case):
        head, _ = case
        loss = head.loss(hidden_states(0), torch.zeros(0, dtype=torch.long))
        assert loss == 0
        assert all(not g.any() for g in torch.autograd.grad(loss, list(head.parameters())))

    def test_output_rows_are_the_table_behind_the_scores(self, case):
        head, _ = case
        rows, bias = head.output_rows(), getattr(head, "bias", None)
        if isinstance(head, TwoLevelSoftmaxHead):
            assert rows is None
            return
        hidden = hidden_states(5)
        told = hidden @ rows[1:].T + (0 if bias is None else bias[-len(rows) + 1 :])
        assert_close(head.scores(hidden)[:, 1:], told, rtol=1e-10, atol=1e-10)
        assert not rows[0].any()

    def test_of_a_dense_table_it_comes_as_close_as_it_can(self, case):
        head, _ = case
        if getattr(head, "bias", None) is not None:
            head.bias.data.zero_()
        # States of few kinds, as those of a model are, and rows that narrow ones come close to.
        hidden = (torch.randn(1, DIM) + 0.3 * torch.randn(200, DIM)).double()
        table = torch.randn(head.num_embeddings, 1).double() @ torch.randn(1, DIM).double()
        table += 0.1 * torch.randn_like(table)

        def divergence():
            wanted, found = (hidden @ table.T)[:, 1:].log_softmax(1), head.scores(hidden)[:, 1:]
            told = F.kl_div(found.log_softmax(1), wanted, reduction="batchmean", log_target=True)
            return float(told.detach())

        before = divergence()
        if hasattr(head, "embedding"):
            head.embedding.approximate_(table)
        head.approximate_(table, hidden)
        exact = {UntiedHead: 1e-10, LowRankHead: 0.1, TwoLevelSoftmaxHead: 0.1}
        most = [bound for kind, bound in exact.items() if isinstance(head, kind)]
        after = divergence()
        assert after <= min([0.5 * before + 1e-9, *most])

    def test_a_table_that_it_cannot_take_is_refused(self, case):
        head, _ = case
        hidden = hidden_states(3)
        with pytest.raises(ValueError, match=r"a table of shape .*: expected"):
            head.approximate_(torch.randn(head.num_embeddings + 1, DIM).double(), hidden)
        table = torch.randn(head.num_embeddings, DIM).double()
        if not [*head.parameters()]:
            return  # nothing that quantization could make integers of
        quantize_(head, QuantizationSpec(8, 8))
        before = head.scores(hidden)
        with pytest.raises(ValueError, match="take over a table first, then quantize"):
            head.approximate_(table, hidden)
        assert_close(head.scores(hidden), before, rtol=0, atol=0)

    @pytest.mark.parametrize("temperature", [1.0, 2.0])
    @pytest.mark.parametrize("reduction", ["mean", "sum"])
    @pytest.mark.parametrize("with_targets", [True, False])
    def test_learning_anothers_distribution_is_learning_the_truths(
        self, case, temperature, reduction, with_targets
    ):
        head, truth = case
        hidden, head.chunk_size = hidden_states(7), 3
        wanted = torch.randn(7, head.num_embeddings, dtype=torch.float64)
        targets = torch.randint(1, head.num_embeddings, (7,))
        leaves = [hidden, *head.parameters()]
        ours = head.soft_target_loss(
            hidden,
            wanted.__getitem__,
            temperature,
            reduction,
            targets if with_targets else None,
            (0.7, 0.4) if with_targets else (0.7, 0.0),
        )
        told, asked = (truth(hidden)[:, 1:] / temperature).log_softmax(1), wanted[:, 1:]
        p = (asked / temperature).softmax(1)
        divergence = temperature**2 * (p * (p.log() - told)).sum(1)
        expected = 0.7 * getattr(divergence, reduction)()
        if with_targets:
            expected = expected + 0.4 * F.cross_entropy(truth(hidden)[:, 1:], targets - 1)
        assert_close(ours, expected, rtol=1e-10, atol=1e-10)
        found = torch.autograd.grad(2 * ours, leaves)
        for gradient, reference in zip(
            found, torch.autograd.grad(2 * expected, leaves), strict=True
        ):
            assert_close(gradient, reference, rtol=1e-8, atol=1e-9)

    @pytest.mark.parametrize("temperature", [1.0, 2.0])
    def test_autocast_does_not_change_what_soft_targets_cost(self, case, temperature):
        head, _ = case
        head.float()  # autocast leaves float64 alone
        hidden = hidden_states(7).detach().float().requires_grad_()
        wanted = torch.randn(7, head.num_embeddings)
        targets = torch.randint(1, head.num_embeddings, (7,))
        leaves = [hidden, *head.parameters()]

        def loss_and_gradients(autocast: bool) -> list[Tensor]:
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = head.soft_target_loss(
                    hidden, wanted.__getitem__, temperature, "mean", targets, (0.7, 0.4)
                )
            return [loss, *torch.autograd.grad(loss, leaves)]

        for ours, exact in zip(loss_and_gradients(True), loss_and_gradients(False), strict=True):
            assert_close(ours, exact, rtol=0, atol=0)

    def test_a_perfect_student_of_soft_targets_has_nothing_to_learn(self, case):
        head, truth = case
        hidden = hidden_states(5)
        same = truth(hidden).detach()
        loss = head.soft_target_loss(hidden, lambda rows: same[rows])
        assert_close(loss, torch.zeros_like(loss), rtol=0, atol=1e-10)
        for gradient in torch.autograd.grad(loss, [hidden, *head.parameters()]):
            assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-10)

    def test_soft_targets_refuse_what_has_no_meaning(self, case):
        head, _ = case
        hidden, wanted = hidden_states(2), torch.randn(2, head.num_embeddings).double()
        with pytest.raises(ValueError, match="reduction='max'"):
            head.soft_target_loss(hidden, wanted.__getitem__, reduction="max")
        with pytest.raises(ValueError, match="needs targets"):
            head.soft_target_loss(hidden, wanted.__getitem__, weights=(0.5, 0.5))

    def test_gradients_of_scores_are_those_of_the_truth(self, case):
        head, truth = case
        hidden = hidden_states(4)
        leaves = [hidden, *head.parameters()]
        weights = torch.randn(4, head.num_embeddings - 1, dtype=torch.float64)
        ours = (head.scores(hidden)[:, 1:] * weights).sum()
        expected = (truth(hidden)[:, 1:] * weights).sum()
        for gradient, reference in zip(
            torch.autograd.grad(ours, leaves), torch.autograd.grad(expected, leaves), strict=True
        ):
            assert_close(gradient, reference, rtol=1e-8, atol=1e-9)

    @pytest.mark.parametrize("k", [1, 5, "all"])
    def test_topk_is_the_full_ranking(self, case, k):
        head, _ = case
        n_items = head.num_embeddings - 1
        k = n_items if k == "all" else min(k, n_items)
        hidden = hidden_states(50)
        with torch.no_grad():
            values, ids = head.topk(hidden, k)
            expected = head.scores(hidden).topk(k, dim=1)
        assert_close(ids, expected.indices, rtol=0, atol=0)
        assert_close(values, expected.values, rtol=1e-10, atol=1e-10)

    def test_forward_gathers_scores(self, case):
        head, _ = case
        ids = torch.arange(head.num_embeddings)
        hidden = hidden_states(len(ids))
        expected = head.scores(hidden).gather(1, ids[:, None])[:, 0]
        assert expected[0] == -torch.inf
        assert_close(head(hidden, ids), expected, rtol=1e-10, atol=1e-10)

    def test_some_scores_are_those_of_all(self, case):
        head, _ = case
        hidden, ids = hidden_states(5), torch.randint(0, head.num_embeddings, (5, 3))
        expected = head.scores(hidden).gather(1, ids)
        assert_close(head.item_scores(hidden, ids), expected, rtol=1e-10, atol=1e-10)

    def test_state_dict_round_trip(self, case, request):
        head, _ = case
        name = request.node.callspec.params["case"]
        other, _ = CASES[name]()
        other.double().load_state_dict(head.state_dict())
        hidden = hidden_states(3)
        assert_close(other.scores(hidden), head.scores(hidden), rtol=0, atol=0)

    def test_macs_count_the_matrix_products(self, case):
        head, _ = case
        if getattr(head, "head_projection", None) is not None:
            pytest.skip("the counter would see the table being built")
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            head.scores(hidden_states(1))
        assert head.macs() == counter.get_total_flops() / 2

    @pytest.mark.parametrize("target", [0, -1, "n"])
    def test_a_target_that_is_no_item_is_refused(self, case, target):
        head, _ = case
        target = head.num_embeddings if target == "n" else target
        with pytest.raises(ValueError, match=r"targets from .* expected item ids 1 \.\. \d+; 0 is"):
            head.loss(hidden_states(2), torch.tensor([1, target]))

    def test_k_beyond_the_catalogue_is_refused(self, case):
        head, _ = case
        for k in (0, head.num_embeddings):
            with pytest.raises(ValueError, match=rf"k={k}: choose 1 \.\. "):
                head.topk(hidden_states(2), k)


def test_initial_rows_have_the_promised_std():
    torch.manual_seed(0)
    std, dim = 0.05, 64
    low = LowRankHead(2001, dim, rank=8, init_std=std)
    two = TwoLevelHead(shuffled_blocks(1500, 2000), dim, tail_dims=(16,), init_std=std)
    dense = UntiedHead(2001, dim, init_std=std)
    tail = two.tail_weights[0] @ two.tail_projections[0]
    for rows in (dense.weight[1:], low.weight @ low.projection, two.weight, tail):
        assert rows.std().item() == pytest.approx(std, rel=0.1)
    assert not dense.weight[0].any()


def test_padding_row_of_a_full_table_is_never_trained():
    head = UntiedHead(7, DIM, bias=True)
    head.loss(torch.randn(5, DIM), torch.randint(1, 7, (5,))).backward()
    assert not head.weight.grad[0].any() and head.bias.grad[0] == 0
    assert head.weight.grad[1:].any(1).all()


def test_a_tied_head_adds_nothing_to_the_model():
    embedding = DenseEmbedding(7, DIM)
    model = nn.ModuleDict({"embedding": embedding, "head": TiedHead(embedding)})
    assert list(model.state_dict()) == ["embedding.weight"]
    embedding.weight = nn.Parameter(torch.ones(7, DIM))  # replaced, as by loading or compression
    assert (model["head"].scores(torch.ones(1, DIM))[:, 1:] == DIM).all()


@pytest.mark.parametrize("case", ["tied_codes", "tied_two_level-narrow-head"])
def test_a_head_reads_an_embedding_that_is_no_part_of_it(case):
    head, _ = CASES[case]()
    assert head.embedding.num_embeddings == head.num_embeddings
    assert head.embedding not in list(head.modules())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: UntiedHead(1, 4), "num_embeddings=1"),
        (lambda: UntiedHead(5, 0), "embedding_dim=0"),
        (lambda: UntiedHead(5, 4, chunk_size=0), "chunk_size=0"),
        (lambda: LowRankHead(5, 4, rank=0), "rank=0: choose 1 .. 4"),
        (lambda: LowRankHead(5, 4, rank=5), "rank=5: choose 1 .. 4"),
        (lambda: TwoLevelHead(shuffled_blocks(2, 3), 4, ()), r"tail_dims=\(\): give 1 widths"),
        (lambda: TwoLevelHead(shuffled_blocks(2, 3), 4, (0,)), r"tail_dims=\(0,\): give 1 widths"),
    ],
)
def test_impossible_settings_get_one_clear_line(build, message):
    with pytest.raises(ValueError, match=message):
        build()
