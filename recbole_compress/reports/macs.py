"""Multiply-adds of one request, counted at the operators torch runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from recbole_compress.models import CompressedRecommender
from recbole_compress.reports.requests import (
    evaluating,
    full_length_request,
    measured,
    request_interaction,
)
from recbole_compress.reports.size import item_width

__all__ = ["count_macs", "macs_per_request"]


def macs_per_request(model: SequentialRecommender, max_length: int) -> dict[str, int | None]:
    """Multiply-adds from the ids of one full-length sequence to the scores of all items.

    Counted while the model runs, so shared weights, functional calls, subclasses and models from
    elsewhere are all measured by one ruler. Products count, element-wise work does not; what a
    head builds for every call, such as a table from its factors, counts as scoring.

    Args:
        model: A model of this package or any sequential one of RecBole.
        max_length: Items in the sequence.

    Returns:
        ``encode``, from ids to the hidden state; ``score``, from there to all scores, taken to be a
        dense product in a model that is not of this package; ``reference_score``, that of a
        dense product. None where it could not be measured.
    """
    item_seq, item_seq_len = full_length_request(model, max_length)
    width = item_width(model)
    dense = None if width is None else model.n_items * width
    encode = score = None
    if isinstance(model, CompressedRecommender):
        request = request_interaction(model, item_seq, item_seq_len)
        item_seq, item_seq_len = request[model.ITEM_SEQ], request[model.ITEM_SEQ_LEN]
        with evaluating(model):
            hidden = model.forward(item_seq, item_seq_len)
            encode = count_macs(lambda: model.forward(item_seq, item_seq_len))
            score = count_macs(lambda: model.item_head.scores(hidden))
    elif dense is not None:
        request = request_interaction(model, item_seq, item_seq_len)
        with evaluating(model):
            total = measured(
                "macs_per_request", lambda: count_macs(lambda: model.full_sort_predict(request))
            )
        if total is not None and total >= dense:
            encode, score = total - dense, dense
    return {"encode": encode, "score": score, "reference_score": dense}


def count_macs(run: Callable[[], Any]) -> int:
    """Multiply-adds of the products in ``run()``.

    Attention counts over the full square, masked or not.

    Example:
        >>> count_macs(lambda: torch.zeros(5, 8) @ torch.zeros(8, 4))
        160
    """
    with FlopCounterMode(display=False, custom_mapping=_UNKNOWN_TO_TORCH) as counter:
        run()
    return counter.get_total_flops() // 2


def _recurrent_layer(input_shape, input_weight, hidden_weight, *args, **kwargs) -> int:
    positions = math.prod(input_shape[:-1])
    return 2 * positions * (math.prod(input_weight) + math.prod(hidden_weight))


def _recurrent_network(input_shape, weights, *args, **kwargs) -> int:
    matrices = [shape for shape in weights if len(shape) == 2]
    return 2 * math.prod(input_shape[:-1]) * sum(math.prod(shape) for shape in matrices)


def _attention(query, key, value, *args, **kwargs) -> int:
    return sdpa_flop_count(query, key, value)


def _matrix_vector(matrix, *args, **kwargs) -> int:
    return 2 * math.prod(matrix)


# Operators that torch's counter would take for free: those of the CPU, and matrix times vector.
_UNKNOWN_TO_TORCH = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten.mkldnn_rnn_layer: _recurrent_layer,
    torch.ops.aten._cudnn_rnn: _recurrent_network,
    torch.ops.aten.mv: _matrix_vector,
    torch.ops.aten.dot: _matrix_vector,
    torch.ops.aten.addmv: lambda _, *args, **kwargs: _matrix_vector(*args),
}
