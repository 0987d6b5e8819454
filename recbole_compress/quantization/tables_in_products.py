"""Which tables of a model round what they are multiplied with: found by asking it once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recbole_compress.build_cache import evaluation_mode
from recbole_compress.heads.scored_state import ScoredState
from recbole_compress.quantization.activations import ActivationQuantizer

__all__ = ["tables_in_products"]


def tables_in_products(model: nn.Module) -> set[int] | None:
    """Ids of the embeddings that rounded something on the way to the scores of all items.

    A table that is only looked up, or compared by distances, has no product to round.

    Args:
        model: Quantized, with what rounds activations attached; left as it was.

    Returns:
        None where that cannot be told: no RecBole model, one that needs more than items and a user,
        or one whose head rounds in place of its tables.
    """
    if not hasattr(model, "full_sort_predict"):
        return None
    if any(isinstance(module, ScoredState) for module in model.modules()):
        return None
    quantizers = [m for m in model.modules() if isinstance(m, ActivationQuantizer)]
    for quantizer in quantizers:
        quantizer.seen = []
    try:
        with evaluation_mode(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
            scores_of: Any = model.full_sort_predict
            scores_of(_request(model))
    except Exception:  # whatever a model of someone else's misses in a request of ids alone
        return None
    else:
        reached = {id(quantizer) for quantizer in quantizers if quantizer.seen}
    finally:
        for quantizer in quantizers:
            quantizer.seen = None
    return {
        id(module)
        for module in model.modules()
        if isinstance(module, nn.Embedding) and reached & {id(part) for part in module.modules()}
    }


def _request(model: Any) -> dict[str, Tensor]:
    """Fields by their names, as RecBole's models read them; some would squeeze a single row."""
    length, device = model.max_seq_length, model.device
    return {
        model.ITEM_SEQ: torch.ones(2, length, dtype=torch.long, device=device),
        model.ITEM_SEQ_LEN: torch.full((2,), length, device=device),
        model.USER_ID: torch.ones(2, dtype=torch.long, device=device),
    }
