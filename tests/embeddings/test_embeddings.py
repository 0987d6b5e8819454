"""One suite, many tables: each is the dense table in disguise."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from recbole_compress.embeddings import (
    BlockwiseEmbedding,
    DenseEmbedding,
    ItemBlocks,
    LowRankEmbedding,
    ProductQuantizedEmbedding,
    TensorTrainEmbedding,
)
from recbole_compress.functional.item_blocks import rank_by_frequency
from recbole_compress.functional.scattered_rows import scattering_factor
from recbole_compress.functional.tensor_train_shapes import TensorTrainShape, choose_shape
from recbole_compress.models.item_order import sort_item_blocks_
from recbole_compress.quantization import QuantizationSpec, freeze_, quantize_
from tests.largest_allocation import largest_tensor

N, DIM = 53, 8  # a prime number of ids, padding included


def item_blocks(sizes=(7, 15, 30)):
    counts = torch.randint(0, 40, (N,), generator=torch.Generator().manual_seed(1))
    return ItemBlocks(sizes, rank_by_frequency(counts))


def tensor_train(factor=1, **how):
    return TensorTrainEmbedding(N, choose_shape(N - 1, DIM, **how), factor=factor)


def codes(m):
    return torch.randint(0, 5, (m, N - 1), generator=torch.Generator().manual_seed(2)).byte()


TABLES = {
    "dense": lambda: DenseEmbedding(N, DIM),
    "low_rank": lambda: LowRankEmbedding(N, DIM, rank=3),
    "blockwise": lambda: BlockwiseEmbedding(item_blocks(), DIM, (8, 2, 1)),
    "blockwise_narrow_head": lambda: BlockwiseEmbedding(item_blocks(), DIM, (4, 2, 1)),
    "blockwise_head_projection": lambda: BlockwiseEmbedding(item_blocks(), DIM, (8, 2, 1), True),
    "one_item_block": lambda: BlockwiseEmbedding(item_blocks((N - 1,)), DIM, (2,)),
    # Slices of a few rows against the whole table: the first is looked up in cores, the second not.
    "tensor_train": lambda: tensor_train(ranks=1, n_cores=4),
    "tensor_train_from_its_table": lambda: tensor_train(ranks=6),
    "tensor_train_3": lambda: tensor_train(ranks=2, n_cores=3),
    "semi_tensor_train": lambda: tensor_train(ranks=2, stp_factor=2),
    "scattered": lambda: tensor_train(scattering_factor(N - 1), ranks=1, n_cores=4),
    "scattered_from_its_table": lambda: tensor_train(scattering_factor(N - 1), ranks=6),
    "product_quantized": lambda: ProductQuantizedEmbedding(codes(4), 5, DIM),
    "one_code": lambda: ProductQuantizedEmbedding(codes(1) * 0, 1, DIM),
    "semi_tensor_train_3": lambda: tensor_train(ranks=[2, 4], stp_factor=2),
}


@pytest.fixture(params=TABLES)
def table(request):
    torch.manual_seed(3)
    return TABLES[request.param]()


def test_lookup_equals_dense_rows_in_value_and_gradient(table):
    ids = torch.randint(0, N, (4, 9))
    ids[0, :3] = torch.tensor([0, 5, 5])  # padding and a repeat
    upstream = torch.randn(4, 9, DIM)
    dense_twin = copy.deepcopy(table)
    looked_up = table(ids)
    expected = dense_twin.dense_weight()[ids] * (ids > 0).unsqueeze(-1)
    torch.testing.assert_close(looked_up, expected, rtol=1e-6, atol=1e-7)
    (looked_up * upstream).sum().backward()
    (expected * upstream).sum().backward()
    for mine, theirs in zip(table.parameters(), dense_twin.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [1, 50, 300])
def test_a_request_reads_what_training_reads(table, length):
    ids = torch.randint(0, N, (1, length))
    expected = table(ids)
    with torch.no_grad():
        torch.testing.assert_close(table.eval()(ids), expected, rtol=1e-6, atol=1e-7)


def test_padding_reads_as_zeros_and_learns_nothing(table):
    optimizer = torch.optim.Adam(table.parameters(), lr=0.1)
    table(torch.tensor([0, 3, 0])).sum().backward()
    optimizer.step()
    assert not table(torch.tensor([0])).any()
    assert not table.dense_weight()[0].any()


def test_all_padding_and_empty_batches(table):
    assert not table(torch.zeros(2, 3, dtype=torch.long)).any()
    assert table(torch.zeros(0, 3, dtype=torch.long)).shape == (0, 3, DIM)


def test_scores_are_products_with_the_dense_table_in_value_and_gradient(table):
    table.double()
    dense_twin = copy.deepcopy(table)
    for rows in (1, 40, 0):
        hidden = torch.randn(rows, DIM, dtype=torch.float64, requires_grad=True)
        upstream = torch.randn(rows, N - 1, dtype=torch.float64)
        scores = table.scores(hidden)
        expected = hidden @ dense_twin.dense_weight().T
        assert scores.shape == (rows, N) and scores.is_contiguous()
        torch.testing.assert_close(scores[:, 1:], expected[:, 1:], rtol=1e-10, atol=1e-12)
        wrt = (hidden, *table.parameters())
        mine = torch.autograd.grad((scores[:, 1:] * upstream).sum(), wrt)
        wrt = (hidden, *dense_twin.parameters())
        theirs = torch.autograd.grad((expected[:, 1:] * upstream).sum(), wrt)
        for gradient, reference in zip(mine, theirs, strict=True):
            torch.testing.assert_close(gradient, reference, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("wrong", [-1, 0, N])
def test_a_target_that_is_no_item_is_refused(table, wrong):
    with pytest.raises(ValueError, match="targets from .* expected classes from"):
        table.cross_entropy(torch.randn(2, DIM), torch.tensor([1, wrong]))


def test_scores_cost_what_is_promised(table):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        table.scores(torch.randn(1, DIM))
    assert table.scores_macs() == counter.get_total_flops() / 2


def test_cross_entropy_is_over_the_real_items_only(table):
    table.double()
    dense_twin = copy.deepcopy(table)
    hidden = torch.randn(9, DIM, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(1, N, (9,))
    loss = table.cross_entropy(hidden, targets, chunk_size=4)
    logits = hidden @ dense_twin.dense_weight()[1:].T
    expected = torch.nn.functional.cross_entropy(logits, targets - 1)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    mine = torch.autograd.grad(loss, (hidden, *table.parameters()))
    theirs = torch.autograd.grad(expected, (hidden, *dense_twin.parameters()))
    for gradient, reference in zip(mine, theirs, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-9, atol=1e-12)


def test_a_table_of_its_own_form_is_found_again(table):
    """But for tensor trains, where what is no item would have to be known as well."""
    torch.manual_seed(5)
    other = copy.deepcopy(table)
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter)
    wanted = table.dense_weight().detach()
    other.approximate_(wanted)
    error = (other.dense_weight() - wanted)[1:].norm() / wanted[1:].norm()
    assert error < (0.9 if isinstance(table, TensorTrainEmbedding) else 1e-5)
    assert not other.dense_weight()[0].any()


def test_of_all_that_it_can_be_a_table_takes_the_closest():
    """No small change of the parameters comes closer."""
    torch.manual_seed(6)
    wanted = torch.randn(N, DIM, dtype=torch.float64)
    for make in TABLES.values():
        table = make().double()
        table.approximate_(wanted)
        if isinstance(table, TensorTrainEmbedding):
            continue  # of more than two cores close to it, and rows that are no item pull too
        distance = (table.dense_weight() - wanted)[1:].square().sum()
        for gradient in torch.autograd.grad(distance, list(table.parameters())):
            torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)


def test_state_dict_round_trip(table):
    torch.manual_seed(4)
    twin = copy.deepcopy(table)
    for parameter in twin.parameters():
        torch.nn.init.normal_(parameter)
    twin.load_state_dict(table.state_dict())
    torch.testing.assert_close(twin.dense_weight(), table.dense_weight(), rtol=0, atol=0)


def test_initial_standard_deviation_is_the_promised_one():
    torch.manual_seed(5)
    blocks = ItemBlocks((2000, 2000), rank_by_frequency(torch.arange(4001)))
    for table in (
        DenseEmbedding(4001, 64, 0.05),
        LowRankEmbedding(4001, 64, 16, 0.05),
        BlockwiseEmbedding(blocks, 64, (64, 16), init_std=0.05),
        ProductQuantizedEmbedding(torch.randint(0, 256, (8, 4000)).byte(), 256, 64, 0.05),
    ):
        rows = table.dense_weight()[1:]
        for half in (rows[:2000], rows[2000:]):
            assert half.std().item() == pytest.approx(0.05, rel=0.1)


def test_frequent_items_get_the_wide_rows():
    counts = torch.tensor([0, 1, 50, 2, 30])
    blocks = ItemBlocks((2, 2), rank_by_frequency(counts))
    table = BlockwiseEmbedding(blocks, 4, (4, 1))
    torch.testing.assert_close(table(torch.tensor([2, 4])), table.tables[0], rtol=0, atol=0)


def test_ids_of_any_integer_dtype_are_the_same():
    ids = torch.tensor([0, 1, 99_999, 100_000])
    shape = TensorTrainShape((400, 250), (2, 4), (2,))
    for made in (TensorTrainEmbedding(100_001, shape), LowRankEmbedding(100_001, DIM, 2)):
        assert made(ids.int()).equal(made(ids))


@pytest.mark.parametrize("n_blocks", [256, 257])
def test_a_table_of_any_number_of_blocks_stays_the_same_when_sorted(n_blocks):
    torch.manual_seed(1)
    counts = torch.randint(0, 9, (601,))
    sizes = (1,) * (n_blocks - 1) + (601 - n_blocks,)
    table = BlockwiseEmbedding(ItemBlocks(sizes, rank_by_frequency(counts)), 2, (2,) * n_blocks)
    before = table.dense_weight().clone()
    sort_item_blocks_(table)
    assert table.dense_weight().equal(before)


def test_a_quantized_table_costs_as_much_to_score():
    table = BlockwiseEmbedding(item_blocks(), DIM, (8, 4, 2))
    promised = table.scores_macs()
    quantize_(table, QuantizationSpec(4, 4, learn_steps=True))
    assert table.scores_macs() == promised
    freeze_(table)
    assert table.scores_macs() == promised


@pytest.mark.parametrize("dims", [(32, 8, 4), (16, 8, 4)])
def test_a_loss_over_all_items_is_made_of_narrow_rows(dims):
    blocks = ItemBlocks((10, 90, 500), rank_by_frequency(torch.randint(0, 9, (601,))))
    table, targets = BlockwiseEmbedding(blocks, 32, dims), torch.tensor([1, 600, 7])
    hidden = torch.randn(3, 32, requires_grad=True)

    def step():
        table.cross_entropy(hidden, targets, chunk_size=2).backward()

    assert largest_tensor(step) <= 500 * 4  # the tail's gradient


def test_loading_restores_the_inverse_permutation():
    blocks, other = item_blocks(), ItemBlocks((N - 1,), rank_by_frequency(torch.arange(N)))
    other.load_state_dict(blocks.state_dict())
    assert other.id_of_rank.equal(blocks.id_of_rank)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LowRankEmbedding(N, DIM, 0), "low_rank_dim=0"),
        (lambda: ProductQuantizedEmbedding(codes(3), 5, DIM), "pq_splits=3: choose a divisor"),
        (lambda: ProductQuantizedEmbedding(codes(4), 4, DIM), "pq_codes=4: there is a code 4"),
        (lambda: LowRankEmbedding(N, DIM, 9), "low_rank_dim=9"),
        (lambda: BlockwiseEmbedding(item_blocks(), DIM, (8, 2)), "give 3 widths"),
        (lambda: BlockwiseEmbedding(item_blocks(), DIM, (8, 2, 0)), "give 3 widths"),
        (lambda: DenseEmbedding(1, DIM), "num_embeddings=1"),
        (lambda: DenseEmbedding(5, 0), "embedding_dim=0"),
        (lambda: item_blocks((7, 15)), "52 items together"),
    ],
)
def test_bad_values_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
