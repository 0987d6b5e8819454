"""Request latency: whole requests, honest percentiles, bounded time."""

from __future__ import annotations

import time

import pytest
import torch

from recbole_compress.reports import latency
from recbole_compress.reports.latency import request_latency

SEQUENCES = torch.tensor([[3, 4, 5, 0], [6, 0, 0, 0], [1, 2, 3, 4]])


@pytest.mark.parametrize("item_head", ["tied", "two_level"])
def test_fields(toy, item_head) -> None:
    model = toy.ours(item_head=item_head)
    found = request_latency(model, SEQUENCES, repeats=5)
    assert list(found) == ["batch_size", "k", "p50", "p95", "runtime"]
    assert 0 < found["p50"] <= found["p95"] < 1000
    assert (found["batch_size"], found["k"], found["runtime"]) == (1, 10, "torch")
    assert all(module.training for module in model.modules())


def test_stock_models(toy, stock_name) -> None:
    assert request_latency(toy.stock(stock_name), SEQUENCES, k=3, repeats=2)["p50"] > 0


def test_a_request_is_a_batch_and_returns_its_best_items(toy) -> None:
    model, asked = toy.ours(), []
    topk = model.item_head.topk

    def watched(hidden, k):
        asked.append((len(hidden), k, torch.is_inference_mode_enabled(), model.training))
        return topk(hidden, k)

    model.item_head.topk = watched
    request_latency(model, SEQUENCES, k=4, batch_size=5, repeats=3)
    assert asked == [(5, 4, True, False)] * (3 + latency.WARM_UPS)


def test_every_sequence_has_its_turn_with_its_own_length(toy) -> None:
    model, seen = toy.ours(), []
    forward = model.forward

    def watched(item_seq, item_seq_len):
        seen.append((item_seq[0].tolist(), int(item_seq_len)))
        return forward(item_seq, item_seq_len)

    model.forward = watched
    request_latency(model, SEQUENCES, repeats=3)
    assert seen[-3:] == [([3, 4, 5, 0], 3), ([6, 0, 0, 0], 1), ([1, 2, 3, 4], 4)]


def test_milliseconds_and_the_time_budget(toy) -> None:
    model, answered = toy.ours(), []

    def slow(hidden, k):
        answered.append(time.sleep(0.02))
        return hidden, torch.zeros(1, k)

    model.item_head.topk = slow
    found = request_latency(model, SEQUENCES, repeats=1000, budget_seconds=0.1)
    assert 20 <= found["p50"] < 200
    assert len(answered) <= latency.WARM_UPS + 6


def test_a_small_catalogue_bounds_k(toy) -> None:
    assert request_latency(toy.ours(), SEQUENCES, k=100, repeats=1)["k"] == 22


def test_padding_is_never_answered(toy) -> None:
    model = toy.stock("GRU4Rec")
    answers = []
    model.full_sort_predict = lambda interaction: answers.append(torch.ones(1, 23)) or answers[-1]
    request_latency(model, SEQUENCES, k=22, repeats=1)
    assert answers[0][0, 0] == -torch.inf


def test_a_model_that_cannot_answer_has_no_latency(toy, caplog) -> None:
    model = toy.stock("GRU4Rec")

    def refuse(interaction):
        raise NotImplementedError("ranks nothing")

    model.full_sort_predict = refuse
    assert request_latency(model, SEQUENCES) is None
    assert "latency_ms is left out" in caplog.text and "ranks nothing" in caplog.text
