"""A model, taken apart: what of it goes into a file, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from recbole_compress.export.lookup import Store, StoredItems
from recbole_compress.export.scoring import Scorer

__all__ = ["Source"]


class Source(NamedTuple):
    """A model, taken apart.

    Attributes:
        model: The model itself, in evaluation mode.
        encoder: From ``item_seq`` and ``length`` (and ``user``) to hidden states, with a stand-in
            for the item table.
        tables: Parameters of the item table and the head, each a matrix with a row per item, or a
            factor of one.
        store: Puts table and head into a file.
        scores: ``(item_seq, length, user)`` to scores ``(B, n_items)``, by the model itself.
        n_items: Catalogue size, padding included.
        max_length: The longest sequence.
        padded: The model's answer depends on how much padding there is: sequences are filled up to
            ``max_length``, as RecBole fills them.
        user: The model wants to know the user.
    """

    model: nn.Module
    encoder: nn.Module
    tables: list[nn.Parameter]
    store: Callable[[Store], tuple[StoredItems, Scorer]]
    scores: Callable[[Tensor, Tensor, Tensor], Tensor]
    n_items: int
    max_length: int
    padded: bool
    user: bool
