"""What only a tensor-train table does: when it builds the table, and what it then keeps."""

from __future__ import annotations

import copy
import io

import pytest
import torch

from recbole_compress.backbones import Pointer
from recbole_compress.build_cache import evaluation_mode
from recbole_compress.embeddings import TensorTrainEmbedding
from recbole_compress.functional.scattered_rows import scattering_factor
from recbole_compress.functional.tensor_train_shapes import TensorTrainShape, choose_shape
from recbole_compress.heads import PointerHead, TiedHead
from recbole_compress.quantization import QuantizationSpec, quantize_
from tests.largest_allocation import largest_tensor

# 1,199 items in 1,200 rows of 12. Batches of 200 rows and lookups of 600 ids pay for building the
# table, which no such lookup comes near by itself.
SHAPE = TensorTrainShape((30, 40), (4, 3), (6,))
N, TABLE = 1_200, 1_200 * 12


@pytest.fixture(params=[1, scattering_factor(N - 1)], ids=["by_id", "scattered"])
def table(request) -> TensorTrainEmbedding:
    torch.manual_seed(1)
    return TensorTrainEmbedding(N, SHAPE, factor=request.param)


def builds_the_table(table) -> bool:
    """Whether a lookup of so many ids that it pays for the whole table finds none that is kept."""
    return largest_tensor(lambda: table(torch.arange(600))) >= TABLE


def truth(table, hidden) -> torch.Tensor:
    with torch.enable_grad():  # from a table of its own
        return (hidden @ table.dense_weight().T[:, 1:]).detach()


@pytest.mark.parametrize("training", [True, False])
def test_one_request_never_builds_the_table(table, training):
    head = TiedHead(table.train(training))
    hidden, history = torch.randn(1, 12), torch.randint(1, N, (1, 50))
    with torch.set_grad_enabled(training):
        for run in (
            lambda: head.scores(hidden),
            lambda: head.topk(hidden, 5),
            lambda: head(hidden, torch.tensor([3])),
            lambda: table(history),
        ):
            assert largest_tensor(run) < TABLE / 2
        assert builds_the_table(table)  # it would show


@pytest.mark.parametrize("training", [True, False])
def test_nor_does_one_request_behind_a_pointer(table, training):
    head = PointerHead(TiedHead(table.train(training)))
    ends = torch.tensor([[4]])
    state = Pointer(12, 4)(torch.randn(1, 1, 12), torch.randint(1, N, (1, 4)), ends)[0].detach()
    with torch.set_grad_enabled(training):
        for run in (
            lambda: head.scores(state),
            lambda: head.topk(state, 5),
            lambda: head(state, torch.tensor([3])),
        ):
            assert largest_tensor(run) < TABLE / 2


@pytest.mark.parametrize("wrong", [-1, N, 10 * N])
def test_what_is_no_id_has_no_row(table, wrong):
    with pytest.raises(IndexError, match=f"{wrong}: expected item ids 1 .. {N - 1}|from {wrong}"):
        table(torch.tensor([3, wrong]))
    for targets in ([3, wrong], [3, 0]):
        with pytest.raises(ValueError, match="targets"):
            table.cross_entropy(torch.randn(2, 12), torch.tensor(targets))


def test_a_table_that_does_not_fit_is_not_taken_over(table):
    before = [core.clone() for core in table.cores]
    for rows in (N - 1, N + 1):
        with pytest.raises(ValueError, match=rf"\({rows}, 12\): expected \({N}, 12\)"):
            table.approximate_(torch.randn(rows, 12))
    assert all(map(torch.equal, table.cores, before))
    quantize_(table, QuantizationSpec(weight_bits=8, table_bits=8))
    with pytest.raises(ValueError, match="quantized already"):
        table.approximate_(torch.randn(N, 12))


def test_a_table_kept_in_inference_mode_serves_a_backward_pass(table):
    table.eval()
    with torch.inference_mode():
        table.scores(torch.randn(200, 12))
    with torch.no_grad():
        scores, _ = table.scorer()
    hidden = torch.randn(2, 12, requires_grad=True)
    scores(hidden)[:, 1:].sum().backward()
    assert hidden.grad is not None


@pytest.mark.parametrize("batch", [1, 200])  # from the cores, from the table
def test_the_best_items_are_those_of_the_scores(table, batch):
    hidden = torch.randn(batch, 12)
    values, ids = TiedHead(table).topk(hidden, 7)
    expected = table.scores(hidden)[:, 1:].topk(7)
    torch.testing.assert_close(values, expected.values)
    assert ids.equal(expected.indices + 1)


def test_a_repeated_id_is_looked_up_once(table):
    ids = torch.tensor([3, 900]).repeat(500)
    assert largest_tensor(lambda: table(ids)) == 1000 * 12


def test_rows_read_from_the_table_have_their_gradients_and_many_do_without_it(table):
    table.train()
    upstream = torch.randn(N, 12)
    for n_ids in (60, 300, 600, N):  # a row at a time, several, and from the table
        ids = torch.randint(0, N, (2, n_ids))
        ours, expected = table(ids), torch.nn.functional.embedding(ids, table.dense_weight())
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-7)
        got, wanted = (
            torch.autograd.grad((vectors * upstream[ids]).sum(), list(table.cores))
            for vectors in (ours, expected)
        )
        for gradient, reference in zip(got, wanted, strict=True):
            torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-5)
    assert largest_tensor(lambda: table(torch.arange(300)).sum().backward()) < TABLE / 2


def test_the_loss_keeps_neither_all_logits_nor_a_second_table(table):
    hidden, targets = torch.randn(500, 12, requires_grad=True), torch.randint(1, N, (500,))
    largest = largest_tensor(lambda: table.cross_entropy(hidden, targets, chunk_size=8).backward())
    assert largest == TABLE


def ways_to_change(table):
    """Everything that gives a table other cores, and training, one after the other."""
    yield table.cores[0].mul_(2.0)
    yield table.load_state_dict({key: v * 3 for key, v in table.state_dict().items()})
    table.cores[1].data = torch.randn_like(table.cores[1])
    yield
    yield table.double()
    yield table.train().eval()


def test_evaluation_builds_the_table_once_until_the_cores_change(table):
    hidden = torch.randn(200, 12)
    table.eval()
    with torch.no_grad():
        assert builds_the_table(table)
        for _ in ways_to_change(table):
            assert builds_the_table(table) and not builds_the_table(table)
            hidden = hidden.to(table.cores[0].dtype)
            torch.testing.assert_close(table.scores(hidden)[:, 1:], truth(table, hidden))
    assert builds_the_table(table)  # with gradients nothing is kept
    assert table.scores(hidden).requires_grad


def test_a_measurement_in_the_middle_of_training_leaves_no_table(table):
    """A fused step leaves no trace on the cores."""
    hidden, optimizer = torch.randn(200, 12), torch.optim.Adam(table.parameters(), fused=True)
    table.train()
    with evaluation_mode(table), torch.inference_mode():
        table.scores(hidden)
    table.cross_entropy(hidden, torch.randint(1, N, (200,))).backward()
    optimizer.step()
    table.eval()
    with torch.no_grad():
        torch.testing.assert_close(table.scores(hidden)[:, 1:], truth(table, hidden))


def test_a_kept_table_is_no_part_of_the_state(table):
    cores = {f"cores.{k}" for k in range(2)}
    table.eval()
    with torch.no_grad():
        assert builds_the_table(table) and not builds_the_table(table)
        assert set(table.state_dict()) == cores
        assert builds_the_table(copy.deepcopy(table))
        file = io.BytesIO()
        torch.save(table, file)
    assert file.tell() < 4 * TABLE


def test_inference_mode_answers_the_same(table):
    hidden, ids = torch.randn(200, 12), torch.arange(N)
    table.eval()
    with torch.inference_mode():
        scores, vectors = table.scores(hidden), table(ids)
    with torch.no_grad():
        torch.testing.assert_close(table.scores(hidden), scores)
        torch.testing.assert_close(table(ids), vectors)


def test_autocast_builds_the_table_in_full_precision(table):
    table.eval()
    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            table.scores(torch.randn(200, 12))
        assert not builds_the_table(table)
        kept, hidden = table.dense_weight(), torch.eye(12)
    torch.testing.assert_close(kept[1:].T, truth(table, hidden), rtol=0, atol=0)


def test_rows_beyond_the_catalogue_are_never_ranked():
    shape = choose_shape(23, 4, ranks=3)
    table = TensorTrainEmbedding(20, shape)
    assert shape.n_rows > 19
    values, ids = TiedHead(table).topk(torch.randn(50, 4), 19)
    assert ids.sort(1).values.equal(torch.arange(1, 20).expand(50, -1)) and values.isfinite().all()


@pytest.mark.parametrize("n_cores", [2, 3])
@pytest.mark.parametrize("factor", [1, 14])
def test_from_dense_at_full_ranks_is_the_dense_table(n_cores, factor):
    dense = torch.randn(24, 8)
    for t in (1, 2):
        shape = choose_shape(23, 8, ranks=10_000, n_cores=n_cores, stp_factor=t)
        table = TensorTrainEmbedding.from_dense(dense, shape, factor)
        torch.testing.assert_close(table.dense_weight()[1:], dense[1:], rtol=1e-4, atol=1e-5)
        assert all(isinstance(core, torch.nn.Parameter) for core in table.cores)
    doubled = TensorTrainEmbedding.from_dense(dense.double(), shape)
    assert doubled.cores[0].dtype == torch.float64


def test_every_core_learns(table):
    optimizer = torch.optim.Adam(table.parameters(), lr=0.1)
    before = [core.detach().clone() for core in table.cores]
    table.cross_entropy(torch.randn(9, 12), torch.arange(1, 10)).backward()
    optimizer.step()
    assert all(not a.equal(b) for a, b in zip(before, table.cores, strict=True))


def test_a_shape_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match=r"tt_row_shape=\[30, 40\]: 1200 rows for 1201 items"):
        TensorTrainEmbedding(1_202, SHAPE)


@pytest.mark.parametrize("n_items", [1, 2, 3, 10, 3416, 36_967, 40_727, 54_542, 1_000_000])
def test_scattered_rows_are_a_permutation_that_parts_neighbours(n_items):
    factor = scattering_factor(n_items)
    rows = torch.arange(n_items) * factor % n_items
    assert rows.sort().values.equal(torch.arange(n_items))
    assert (rows * pow(factor, -1, n_items) % n_items).equal(torch.arange(n_items))
    if n_items > 1000:
        slice_size = choose_shape(n_items, 64, ranks=32).n_rows // 20  # of cores wider than most
        for distance in range(1, 8):
            assert (rows[distance:] // slice_size != rows[:-distance] // slice_size).all()


def test_what_a_row_learns_does_not_reach_the_items_of_neighbouring_ids():
    """By id an item that nobody saw is moved towards its neighbour's users; scattered it is not."""
    shape = choose_shape(3000, 16, ranks=8)
    moved = {}
    for factor in (1, scattering_factor(3000)):
        torch.manual_seed(1)
        table = TensorTrainEmbedding(3001, shape, factor=factor)
        optimizer = torch.optim.SGD(table.parameters(), lr=1.0)
        hidden, seen, next_id = torch.randn(1, 16), torch.tensor([1510]), 1511
        before = table.scores(hidden)[0].detach()
        (-table.scores(hidden)[0, seen].sum()).backward()
        optimizer.step()
        change = (table.scores(hidden)[0] - before).detach()
        moved[factor] = change[next_id] / change[seen]
    by_id, scattered = moved.values()
    assert by_id > 0.05 and scattered.abs() < 1e-6


@pytest.mark.parametrize("n", [1703, 3294, 25_124, 41_182])
def test_close_ids_share_no_slice_of_a_core(n):
    """The golden section alone comes close to a multiple of the last core's rows for these."""
    shape = choose_shape(n, 128, ranks=60, max_numbers=(n + 1) * 128 / 30, stp_factor=2)

    def largest_share(factor):
        rows = torch.arange(n) * factor % n
        last = rows % shape.rows[-1]
        return max((last[d:] == last[:-d]).float().mean() for d in range(1, 9))

    assert largest_share(scattering_factor(n)) > 0.5
    assert largest_share(scattering_factor(n, shape.rows)) < 0.1
