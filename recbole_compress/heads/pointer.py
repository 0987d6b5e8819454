"""Items of the sequence by the pointer, all others by another head."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_compress.functional.full_precision import full_precision
from recbole_compress.functional.pointed_states import (
    MOST_ITEMS,
    PointedStates,
    pointed_log_probs_,
    unpack_pointers,
)
from recbole_compress.functional.soft_targets import weights_of_rows
from recbole_compress.heads.base import ItemHead

__all__ = ["PointerHead"]

# Logit of what is sure: that the next item is in a sequence of all there are.
CERTAIN = 1e4


class PointerHead(ItemHead):
    """The log-probability of every item, repeated or new, from states that carry pointers.

    ``p(item) = g * share(item)`` for the items of the sequence and ``(1 - g) * p_new(item)`` for
    all others, where ``p_new`` is what ``new_items`` says of the vector, with the items of the
    sequence left out. So only new targets ask for it in training: item tables need not learn to
    repeat, and repeated targets cost no softmax over the catalogue.

    Args:
        new_items: Any item head.

    Raises:
        ValueError: A catalogue of more items than float32 has integers.

    Example:
        >>> from recbole_compress.backbones.pointer import Pointer
        >>> from recbole_compress.heads import UntiedHead
        >>> head, item_seq = PointerHead(UntiedHead(9, 4)), torch.tensor([[3, 5]])
        >>> pointer = Pointer(dim=4, max_length=2)
        >>> states = pointer(torch.ones(1, 1, 4), item_seq, ends=torch.tensor([[2]])).squeeze(1)
        >>> head.topk(states, k=1)[1].tolist(), round(head.scores(states).exp().sum().item(), 3)
        ([[5]], 1.0)

    Reference:
        Ren et al., AAAI 2019, arXiv:1812.02646 (RepeatNet), its repeat and explore modes.
    """

    def __init__(self, new_items: ItemHead) -> None:
        super().__init__(new_items.num_embeddings, new_items.embedding_dim, new_items.chunk_size)
        if new_items.num_embeddings > MOST_ITEMS:
            raise ValueError(
                f"{new_items.num_embeddings:,} items: states carry ids as floats, which are exact "
                f"up to {MOST_ITEMS:,}; choose repeats=none"
            )
        self.new_items = new_items

    @property
    def of_vectors(self) -> ItemHead:
        return self.new_items

    def approximate_(self, table: Tensor, hidden: Tensor) -> None:
        self.new_items.approximate_(table, hidden)

    def _unpacked(self, hidden: Tensor) -> PointedStates:
        states = unpack_pointers(hidden, self.embedding_dim)
        # Where the sequence holds every item there is, the next one is among them.
        all_there = (states.items > 0).sum(1) == self.num_embeddings - 1
        return states._replace(gate=states.gate.masked_fill(all_there, CERTAIN))

    def loss(self, hidden: Tensor, targets: Tensor, excluded: Tensor | None = None) -> Tensor:
        if excluded is not None:
            raise NotImplementedError("a pointer's head leaves nothing out but what it points at")
        self._check_targets(targets)
        states = self._unpacked(hidden)
        here = (states.items == targets.unsqueeze(1)) & (states.items > 0)
        repeated = here.any(1)
        of_gate = F.binary_cross_entropy_with_logits(
            states.gate, repeated.to(states.gate), reduction="sum"
        )
        of_shares = states.log_shares.masked_fill(~here, 0.0).sum()
        new = (~repeated).nonzero()[:, 0]
        of_new = self.new_items.loss(states.vectors[new], targets[new], states.items[new])
        return (of_gate - of_shares + of_new * len(new)) / max(len(targets), 1)

    def soft_target_loss(
        self,
        hidden: Tensor,
        teacher_scores: Callable[[slice], Tensor],
        temperature: float = 1.0,
        reduction: str = "mean",
        targets: Tensor | None = None,
        weights: tuple[float, float] = (1.0, 0.0),
    ) -> Tensor:
        if temperature != 1:  # softened, what is new is not apart from what is repeated
            return super().soft_target_loss(
                hidden, teacher_scores, temperature, reduction, targets, weights
            )
        soft, hard = weights_of_rows(len(hidden), reduction, targets, weights)
        states = self._unpacked(full_precision(hidden))
        # A divergence falls apart: into that of new items, and of those that are pointed at beside
        # all that is new.
        rest, shares = self.new_items.soft_targets_without(
            states.vectors, teacher_scores, states.items
        )
        no_item = states.items == self.padding_idx
        pointed = torch.xlogy(shares, shares) - shares * states.log_pointed
        new = (1 - shares.sum(1, keepdim=True)).clamp(min=0) * states.log_new
        told = soft * (rest + pointed.masked_fill(no_item, 0.0).sum() - new.sum())
        if targets is not None and hard:
            told = told + hard * len(hidden) * self.loss(hidden, targets)
        return told

    def scores(self, hidden: Tensor) -> Tensor:
        return self._with_pointed(self.new_items.log_probs, hidden)

    def scorer(self) -> tuple[Callable[[Tensor], Tensor], tuple[Tensor, ...]]:
        log_probs, tensors = self.new_items.log_prob_scorer()
        return partial(self._with_pointed, log_probs), tensors

    def _with_pointed(
        self, log_probs_of_new: Callable[[Tensor, Tensor], Tensor], hidden: Tensor
    ) -> Tensor:
        states = self._unpacked(hidden)
        return pointed_log_probs_(log_probs_of_new(states.vectors, states.items), states)

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        self._check_k(k)
        states = self._unpacked(hidden)
        values, ids = self.new_items.log_prob_topk(states.vectors, states.items, k)
        known = (ids == self.padding_idx) | (ids.unsqueeze(2) == states.items.unsqueeze(1)).any(2)
        of_new = (values + states.log_new).masked_fill(known, -torch.inf)
        pointed = states.log_pointed.masked_fill(states.items == self.padding_idx, -torch.inf)
        best, place = torch.cat([pointed, of_new], 1).topk(k, dim=1)
        return best, torch.cat([states.items, ids], 1).gather(1, place)

    def forward(self, hidden: Tensor, ids: Tensor) -> Tensor:
        return self.item_scores(hidden, ids.unsqueeze(1)).squeeze(1)

    def item_scores(self, hidden: Tensor, ids: Tensor) -> Tensor:
        # What is new is weighed against all that is new.
        return self._few_rows_at_a_time(
            lambda hidden, ids: self.scores(hidden).gather(1, ids), hidden, ids
        )

    def macs(self) -> int:
        return self.new_items.macs()
