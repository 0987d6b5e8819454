"""Milliseconds from an item sequence to its top-k items."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor

from recbole_compress.models import CompressedRecommender
from recbole_compress.reports.requests import evaluating, measured, request_interaction

__all__ = ["request_latency"]

WARM_UPS = 5


def request_latency(
    model: SequentialRecommender,
    item_seq: Tensor,
    item_seq_len: Tensor | None = None,
    k: int = 10,
    batch_size: int = 1,
    repeats: int = 200,
    budget_seconds: float = 2.0,
) -> dict[str, Any] | None:
    """Time requests one by one: item ids in, the ids of the ``k`` best items out.

    Runs in evaluation mode on torch's current threads, after a few runs that are not timed. The
    requests go through the rows of ``item_seq`` in turn, so lengths vary as they do there.

    Args:
        model: A model of this package, or any sequential one with a ``full_sort_predict``.
        item_seq: ``(N, L)`` item ids, right-padded with 0.
        item_seq_len: ``(N,)`` lengths; None counts the ids that are not 0.
        k: Items to return; the whole catalogue if it has fewer.
        batch_size: Sequences per request.
        repeats: Requests to time.
        budget_seconds: Stop early after this long.

    Returns:
        ``batch_size``, ``k``, ``runtime`` and the percentiles ``p50`` and ``p95`` in milliseconds;
        None where the model cannot answer, or there is nothing to ask.
    """
    if not len(item_seq):
        return None
    if item_seq_len is None:
        item_seq_len = (item_seq != 0).sum(1)
    k = min(k, model.n_items - 1)
    rows = torch.arange(min(len(item_seq), repeats) * batch_size) % len(item_seq)
    with evaluating(model):
        answers = [
            _answer(model, item_seq[batch], item_seq_len[batch], k)
            for batch in rows.split(batch_size)
        ]
        times = measured("latency_ms", lambda: _time(answers, repeats, budget_seconds))
    if times is None:
        return None
    p50, p95 = np.percentile(times, [50, 95]) * 1e3
    return {
        "batch_size": batch_size,
        "k": k,
        "p50": float(p50),
        "p95": float(p95),
        "runtime": "torch",
    }


def _answer(
    model: SequentialRecommender, item_seq: Tensor, item_seq_len: Tensor, k: int
) -> Callable[[], Tensor]:
    """One request, ready to be run."""
    device = model.device
    item_seq, item_seq_len = item_seq.to(device), item_seq_len.to(device)
    if isinstance(model, CompressedRecommender):

        def answer() -> Tensor:
            return model.item_head.topk(model(item_seq, item_seq_len), k)[1]
    else:
        interaction = request_interaction(model, item_seq, item_seq_len)

        def answer() -> Tensor:
            scores = model.full_sort_predict(interaction).view(len(item_seq), -1)
            scores[:, 0] = -torch.inf  # padding is no item, as in RecBole's evaluation
            return scores.topk(k).indices

    # Reading the ids back waits until an accelerator has really finished.
    return lambda: answer().cpu()


def _time(answers: list[Callable[[], Tensor]], repeats: int, budget_seconds: float) -> list[float]:
    for answer in itertools.islice(itertools.cycle(answers), WARM_UPS):
        answer()
    times: list[float] = []
    deadline = time.perf_counter() + budget_seconds
    for answer in itertools.islice(itertools.cycle(answers), repeats):
        start = time.perf_counter()
        answer()
        end = time.perf_counter()
        times.append(end - start)
        if end > deadline:
            break
    return times
