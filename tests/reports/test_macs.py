"""Operator counts against closed formulas."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from recbole_compress.models.choices import ITEM_EMBEDDINGS
from recbole_compress.reports.macs import count_macs, macs_per_request
from recbole_compress.reports.requests import full_length_request, request_interaction

D, N, L = 8, 23, 7


@pytest.mark.parametrize("kind, gates", [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_recurrent_networks_are_counted(kind, gates, bias, training) -> None:
    layers = kind(8, 16, 2, bias=bias, batch_first=True).train(training)
    x = torch.zeros(3, 5, 8)
    expected = 3 * 5 * gates * 16 * (8 + 16 + 16 + 16)
    with torch.no_grad():
        assert count_macs(lambda: layers(x)) == expected
    with torch.inference_mode():
        assert count_macs(lambda: layers(x)) == expected


def test_recurrent_networks_are_counted_on_a_gpu_too() -> None:
    with FakeTensorMode():  # shapes and devices without the hardware
        x, state = (torch.empty(3, 5, 8, device="cuda"), torch.empty(1, 3, 16, device="cuda"))
        shapes = [(48, 8), (48, 16), (48,), (48,)]
        weights = [torch.empty(shape, device="cuda") for shape in shapes]
        gru, rest = 3, (16, 0, 1, True, 0.0, False, False, [], None)
        counted = count_macs(
            lambda: torch.ops.aten._cudnn_rnn(x, weights, 4, None, state, None, gru, *rest)
        )
    assert counted == 3 * 5 * 3 * 16 * (8 + 16)


@pytest.mark.parametrize("is_causal", [True, False])
def test_attention_is_counted_over_the_full_square(is_causal) -> None:
    q = torch.zeros(3, 2, 5, 4)
    with torch.no_grad():
        counted = count_macs(lambda: F.scaled_dot_product_attention(q, q, q, is_causal=is_causal))
    assert counted == 3 * 2 * (5 * 5 * 4) * 2


def test_vectors_are_counted() -> None:
    matrix, x, y = torch.zeros(6, 4), torch.zeros(4), torch.zeros(6)
    assert count_macs(lambda: matrix @ x) == 24
    assert count_macs(lambda: torch.addmv(y, matrix, x)) == 24
    assert count_macs(lambda: x @ x) == 4


@pytest.mark.parametrize("backbone", ["nextitnet", "gru4rec", "sasrec"])
@pytest.mark.parametrize("item_head", ["tied", "untied", "low_rank", "two_level"])
def test_our_models_cost_what_their_parts_promise(toy, backbone, item_head) -> None:
    model = toy.ours(backbone=backbone, item_head=item_head).train()
    assert macs_per_request(model, L) == {
        "encode": model.backbone.last_state_macs(L),  # a dense table is read, not multiplied
        "score": model.item_head.macs(),
        "reference_score": N * D,
    }


def test_parts_add_up_to_full_sort_predict(toy) -> None:
    model = toy.ours(item_embedding="blockwise", item_head="two_level").eval()
    macs = macs_per_request(model, L)
    request = request_interaction(model, *full_length_request(model, L))
    with torch.no_grad():
        total = count_macs(lambda: model.full_sort_predict(request))
    assert macs["encode"] + macs["score"] == total


def test_bringing_vectors_to_full_width_is_part_of_encoding(toy) -> None:
    model = toy.ours(item_embedding="low_rank")
    assert macs_per_request(model, L)["encode"] == model.backbone.last_state_macs(L) + L * 2 * D


@pytest.mark.parametrize("item_embedding", ITEM_EMBEDDINGS)
def test_a_tied_table_in_factors_is_not_built_for_a_request(toy, item_embedding) -> None:
    model = toy.ours(item_embedding=item_embedding, item_head="tied")
    score = macs_per_request(model, L)["score"]
    assert score == model.item_head.macs()
    if item_embedding == "low_rank":
        assert score == 2 * D + (N - 1) * 2
    if item_embedding == "tensor_train":  # columns 4 x 2, rows 3 x 8, rank 2
        assert score == D * 3 * 2 + 3 * 2 * 8 * 2


def test_sharing_saves_no_arithmetic(toy) -> None:
    assert macs_per_request(toy.ours(layer_sharing="cross_layer"), L) == macs_per_request(
        toy.ours(), L
    )


def test_stock_models_by_the_same_ruler(toy) -> None:
    macs = macs_per_request(toy.stock("GRU4Rec"), L)
    assert macs == {
        "encode": L * (3 * 12 * (D + 12) + 12 * D),
        "score": N * D,
        "reference_score": N * D,
    }


def test_every_stock_model_is_measured(toy, stock_name) -> None:
    macs = macs_per_request(toy.stock(stock_name), L)
    assert macs["encode"] > 0 and macs["score"] == N * D


def test_a_parameter_may_be_the_input_of_a_module(toy) -> None:
    model = toy.stock("GRU4Rec")
    model.relu, plain = nn.ReLU(), model.full_sort_predict
    model.full_sort_predict = lambda request: (model.relu(model.dense.weight), plain(request))[1]
    assert macs_per_request(model, L) == macs_per_request(toy.stock("GRU4Rec"), L)


def test_measuring_leaves_the_model_as_it_was(toy) -> None:
    model = toy.ours()
    model.backbone.eval()
    model.item_embedding.requires_grad_(False)
    before = [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]
    macs_per_request(model, L)
    assert before == (
        [m.training for m in model.modules()],
        [p.requires_grad for p in model.parameters()],
    )


def test_a_model_that_cannot_rank_is_left_out_with_a_warning(toy, caplog) -> None:
    model = toy.stock("GRU4Rec")
    model.full_sort_predict = None
    assert macs_per_request(model, L) == {
        "encode": None,
        "score": None,
        "reference_score": N * D,
    }
    assert "macs_per_request is left out" in caplog.text
