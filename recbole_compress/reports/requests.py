"""Requests that any sequential model can answer, so that all are measured alike."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn

from recbole_compress.build_cache import evaluation_mode
from recbole_compress.models.compressed_recommender import n_readable_items

__all__ = ["evaluating", "full_length_request", "measured", "request_interaction"]


def request_interaction(
    model: SequentialRecommender, item_seq: Tensor, item_seq_len: Tensor
) -> Interaction:
    """Sequences as RecBole's models take them, on the model's device.

    A model that asks for the user gets user 1, whose vector costs as much as any other.
    """
    fields = {
        model.ITEM_SEQ: item_seq,
        model.ITEM_SEQ_LEN: item_seq_len,
        model.USER_ID: torch.ones_like(item_seq_len),
    }
    # A packed model has buffers in the place of parameters.
    stored = itertools.chain(model.parameters(), model.buffers())
    return Interaction(fields).to(next(stored).device)


def full_length_request(model: SequentialRecommender, length: int) -> tuple[Tensor, Tensor]:
    """One sequence without padding, ``(1, length)``, and its length, ``(1,)``.

    Its items are spread evenly over the ids: where vectors are stored at different widths, what
    a lookup costs depends on the items.
    """
    ids = torch.linspace(1, n_readable_items(model) - 1, length).round().long()
    return ids.unsqueeze(0), torch.tensor([length])


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module is as it was."""
    # Frozen, because torch's operator counter trips over a parameter that is a module's input.
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.requires_grad_(False)
    try:
        with evaluation_mode(model), torch.inference_mode():
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


def measured(what: str, measure: Callable[[], Any]) -> Any:
    """What ``measure`` returns, or None and a warning in the log where it fails.

    Measuring comes after hours of training and must not be what loses them.
    """
    try:
        return measure()
    except Exception as error:  # RecBole's models can be asked for more than they answer
        reason = str(error).partition("\n")[0]
        logging.getLogger().warning(
            f"{what} is left out, measuring failed: {type(error).__name__}: {reason}"
        )
        return None
