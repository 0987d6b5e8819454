"""Items of the sequence by the pointer, all others by another head."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_compress.functional.pointed_states import (
    PointedStates,
    pointed_scores,
    unpack_pointers,
)
from recbole_compress.heads.base import ItemHead

__all__ = ["PointerHead", "name_without_pointer"]


class PointerHead(ItemHead):
    """The log-probability of every item, repeated or new, from states that carry pointers.

    ``p(item) = g * share(item)`` for the items of the sequence and ``(1 - g) * p_new(item)`` for
    all others, where ``p_new`` is what ``new_items`` says of the vector. Its loss asks
    ``new_items`` for targets that are new only, so item tables need not learn to repeat, and
    repeated targets cost no softmax over the catalogue::

        loss = -scores(states).gather(1, targets[:, None]).mean()

    What ``new_items`` gives to items of the sequence is given to nobody, so probabilities add up
    to a little less than 1; the loss is the cross-entropy or, by as much, above it.

    Args:
        new_items: Any item head.

    Example:
        >>> from recbole_compress.backbones.pointer import Pointer
        >>> from recbole_compress.heads import UntiedHead
        >>> head, seq = PointerHead(UntiedHead(9, 4)), torch.tensor([[3, 5]])
        >>> vectors = torch.ones(1, 1, 4)
        >>> states = Pointer(dim=4, max_length=2)(vectors, seq, ends=torch.tensor([[2]]))
        >>> head.topk(states.squeeze(1), k=2)[1].tolist()
        [[5, 3]]
    """

    def __init__(self, new_items: ItemHead) -> None:
        super().__init__(new_items.num_embeddings, new_items.embedding_dim, new_items.chunk_size)
        self.new_items = new_items

    @property
    def of_vectors(self) -> ItemHead:
        return self.new_items

    def _unpacked(self, hidden: Tensor) -> PointedStates:
        return unpack_pointers(hidden, self.embedding_dim)

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        self._check_targets(targets)
        states = self._unpacked(hidden)
        here = (states.items == targets.unsqueeze(1)) & (states.items > 0)
        repeated = here.any(1)
        of_gate = F.binary_cross_entropy_with_logits(
            states.gate, repeated.to(states.gate), reduction="sum"
        )
        of_shares = states.log_shares.masked_fill(~here, 0.0).sum()
        new = (~repeated).nonzero()[:, 0]
        of_new = self.new_items.loss(states.vectors[new], targets[new]) * len(new)
        return (of_gate - of_shares + of_new) / max(len(targets), 1)

    def scores(self, hidden: Tensor) -> Tensor:
        return self._pointed(self.new_items.scores, hidden)

    def _pointed(self, scores: Callable[[Tensor], Tensor], hidden: Tensor) -> Tensor:
        states = self._unpacked(hidden)
        return pointed_scores(scores(states.vectors), states, self.new_items.gives_log_probs)

    def scorer(self) -> tuple[Callable[[Tensor], Tensor], tuple[Tensor, ...]]:
        scores, tensors = self.new_items.scorer()
        return lambda hidden: self._pointed(scores, hidden), tensors

    def forward(self, hidden: Tensor, ids: Tensor) -> Tensor:
        # What is new is weighed against all that is new.
        return self.scores(hidden).gather(1, ids.unsqueeze(1)).squeeze(1)

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        self._check_k(k)
        if not self.new_items.gives_log_probs:
            return super().topk(hidden, k)
        # The best that are new are among the best of all: a head that stops early still may.
        states = self._unpacked(hidden)
        room = min(k + states.items.shape[1], self.num_embeddings - 1)
        values, ids = self.new_items.topk(states.vectors, room)
        known = (ids.unsqueeze(2) == states.items.unsqueeze(1)).any(2)
        values = (values + F.logsigmoid(-states.gate).unsqueeze(1)).masked_fill(known, -torch.inf)
        pointed = F.logsigmoid(states.gate).unsqueeze(1) + states.log_shares
        pointed = pointed.masked_fill(states.items == self.padding_idx, -torch.inf)
        best, place = torch.cat([pointed, values], 1).topk(k, dim=1)
        return best, torch.cat([states.items, ids], 1).gather(1, place)

    def macs(self) -> int:
        return self.new_items.macs()


def name_without_pointer(name: str) -> str:
    """What a model's parameter is called where the same model has no pointer.

    Example:
        >>> name_without_pointer("item_head.new_items.weight")
        'item_head.weight'
    """
    return name.replace("item_head.new_items.", "item_head.")
