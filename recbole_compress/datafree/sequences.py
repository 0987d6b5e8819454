"""Sequences, places in them, and what a model says there."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from recbole_compress.functional.cross_entropy import default_chunk_size

__all__ = ["NextItemModel", "Places", "Reading", "Sequences"]


class Sequences(NamedTuple):
    """Right-padded item sequences.

    Attributes:
        item_seq: Item ids, int64 ``(B, L)``, 0 behind the end.
        lengths: int64 ``(B,)``, each 1 .. L.
    """

    item_seq: Tensor
    lengths: Tensor

    def take(self, which: Tensor | slice) -> Sequences:
        """These rows, cut to the longest of them.

        Example:
            >>> both = Sequences(torch.tensor([[3, 4, 5], [6, 0, 0]]), torch.tensor([3, 1]))
            >>> both.take(slice(1, 2)).item_seq
            tensor([[6]])
        """
        lengths = self.lengths[which]
        return Sequences(self.item_seq[which][:, : int(lengths.max())], lengths)


class Places(NamedTuple):
    """Where models are asked what comes next: ``N`` places in ``B`` sequences.

    Attributes:
        item_seq: What is read, ``(B, L)``; it may hold a model's mask token.
        lengths: ``(B,)``.
        chosen: The positions whose states are asked for, bool ``(B, L)`` with ``N`` True; None for
            one place after each whole sequence, ``N = B``.
        row: Which of the original sequences every place belongs to, ``(N,)``.
        seen: How many of its items have been read there, ``(N,)``.
        offset: Items of a sequence that the model drops on the left before it reads.
    """

    item_seq: Tensor
    lengths: Tensor
    chosen: Tensor | None
    row: Tensor
    seen: Tensor
    offset: int = 0


class Reading(NamedTuple):
    """What one model says at ``N`` places; scores are only made where they are asked for.

    Attributes:
        states: ``(N, dim)``, with gradients where gradients are on.
        scores: ``(C, dim) -> (C, n_items)``; column 0, the padding id's, means nothing.
        item_scores: ``(C, dim), (C, k) -> (C, k)``: scores of single ids.
        tensors: What ``scores`` are functions of besides the states.
        item_tensors: The same for ``item_scores``, where a table put together for all items may
            have no part.
    """

    states: Tensor
    scores: Callable[[Tensor], Tensor]
    item_scores: Callable[[Tensor, Tensor], Tensor]
    tensors: tuple[Tensor, ...]
    item_tensors: tuple[Tensor, ...]

    @torch.no_grad()
    def best_items(self, k: int, n_items: int) -> Tensor:
        """The ``k`` best items of every place, best first, ``(N, k)``; all where there are fewer.

        Scores are made for so many places at a time as the loss takes.
        """
        k = min(k, n_items - 1)
        chunks = self.states.split(default_chunk_size(n_items, self.states.device))
        return torch.cat([self.scores(states)[:, 1:].topk(k, 1).indices + 1 for states in chunks])


class NextItemModel(Protocol):
    """A recommender as this package sees it: no data set, no user, no loss of its own."""

    @property
    def n_items(self) -> int:
        """Catalogue size with the padding id 0."""

    @property
    def max_length(self) -> int:
        """Items that it reads at most."""

    def places(self, sequences: Sequences, generator: torch.Generator | None = None) -> Places:
        """Where to ask it in these sequences; by chance where it cannot answer everywhere."""

    def next_places(self, sequences: Sequences) -> Places:
        """Every place from which the next item of these sequences follows, in order."""

    def read(self, places: Places) -> Reading:
        """What it says there."""

    def ends(self, sequences: Sequences) -> Reading:
        """What it says after each whole sequence, ``N = B``."""

    def item_vectors(self, ids: Tensor | None = None) -> Tensor:
        """Vectors of these items as the model reads them; None for all of them."""
