"""What a sequence says of its own items: whether the next one is among them, and which."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_compress.functional.full_precision import full_precision
from recbole_compress.functional.pointed_states import pack_pointers

__all__ = ["Pointer"]

# Logit of a repeat, and how much less likely each older place is, before anything is learned.
_FIRST_GATE = -1.0
_FIRST_SLOPE = -0.3
# Logit of what cannot be.
_NEVER = -1e4
# Smaller shares have no digits in float32.
_SMALLEST = 1e-30
# More places than a sequence has; its own length could not be exported in these places.
_PLACES = 2**31


class Pointer(nn.Module):
    """Points back at the items of the sequence, from every position.

    With ``h`` the vector after ``t`` items::

        gate  = w . h + b                             logit: is the next item one of these?
        share = softmax_{j <= t}(age[t - j])          and which: the j-th has been there so long

    An item that stands there several times has the sum of its places' shares. These are
    ``dim + 1 + max_length`` numbers, whatever the catalogue.

    Args:
        dim: Width of the vectors.
        max_length: The longest sequence.

    Example:
        >>> pointer, item_seq = Pointer(dim=4, max_length=3), torch.tensor([[7, 9, 7]])
        >>> states = pointer(torch.ones(1, 3, 4), item_seq, ends=torch.tensor([[1, 2, 3]]))
        >>> states.shape, states[0, 2, -3:].tolist()  # after all three: item 7 once, the newest
        (torch.Size([1, 3, 11]), [0.0, 9.0, 7.0])

    Reference:
        Ren et al., AAAI 2019, arXiv:1812.02646 (RepeatNet). Differs: a curve over ages and one
        vector for the gate, in place of an attention network for each of the two modes.
    """

    by_place = ("age",)

    def __init__(self, dim: int, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.age = nn.Parameter(_FIRST_SLOPE * torch.arange(float(max_length)))
        # Vectors, which quantization leaves as they are: everything hangs on so few numbers.
        self.weight = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.tensor([_FIRST_GATE]))

    def forward(self, vectors: Tensor, item_seq: Tensor, ends: Tensor) -> Tensor:
        """States as :mod:`~recbole_compress.functional.pointed_states` packs them.

        Args:
            vectors: ``(B, T, dim)``, each after the first ``ends`` items of its sequence.
            item_seq: ``(B, L)``, right-padded.
            ends: int64, ``(B, T)``, or ``(1, T)`` for the same in all rows.

        Returns:
            ``(B, T, dim + 1 + 2 * L)``.
        """
        # In the digits that states are packed in, whatever else autocast rounds.
        with torch.autocast(vectors.device.type, enabled=False):
            return self._packed(full_precision(vectors), item_seq, ends)

    def _packed(self, vectors: Tensor, item_seq: Tensor, ends: Tensor) -> Tensor:
        length = item_seq.shape[1]
        column = torch.arange(length, device=item_seq.device)
        age = ends.unsqueeze(2) - 1 - column
        seen = (age >= 0) & (item_seq > 0).unsqueeze(1)
        logits = self.age[age.clamp(0, self.max_length - 1)]
        # Finite, so that a sequence without items has some share and no NaN.
        logits = logits.masked_fill(~seen, -1e30)
        shares = logits.softmax(2)
        group, following = _occurrences(item_seq)
        if vectors.shape[1] == 1:
            group = group.unsqueeze(1)
            shares = torch.zeros_like(shares).scatter_add(2, group, shares).gather(2, group)
        else:  # a product, which is no larger than the shares themselves
            same = item_seq.unsqueeze(2) == item_seq.unsqueeze(1)
            shares = shares @ same.to(shares.dtype)
        # Each item stands at its newest place: the next one that holds it is not seen.
        newest = seen & (following.unsqueeze(1) >= ends.unsqueeze(2))
        # Where there is nothing to point at, the next item is a new one.
        gate = (vectors @ self.weight + self.bias).masked_fill(~newest.any(2), _NEVER)
        # Below the smallest share there is, that of the newest place alone: exact for an item that
        # stands there once, and with a gradient for any.
        alone = logits.log_softmax(2).masked_fill(~seen, math.log(_SMALLEST))
        log_shares = torch.where(shares > _SMALLEST, shares.clamp(min=_SMALLEST).log(), alone)
        return pack_pointers(vectors, gate, log_shares, item_seq.unsqueeze(1) * newest)


def _occurrences(item_seq: Tensor) -> tuple[Tensor, Tensor]:
    """Which places hold the same item, without comparing each with each.

    Args:
        item_seq: ``(B, L)``, integer.

    Returns:
        Two of int64 ``(B, L)``: a number below ``L`` that places of one item share, and the next
        place that holds the item, beyond any length where there is none.

    Example:
        >>> group, following = _occurrences(torch.tensor([[7, 9, 7, 4]]))
        >>> group.tolist(), (following < 4).tolist(), int(following[0, 0])
        ([[1, 2, 1, 0]], [[True, False, False, False]], 2)
    """
    # Every number once, so that places of one item stay in order whatever sorts them.
    column = torch.arange(item_seq.shape[1], device=item_seq.device)
    keys = (item_seq.long() * _PLACES + column).sort(1).values
    place, item = keys % _PLACES, keys // _PLACES
    again = item[:, 1:] == item[:, :-1]
    group = F.pad((~again).long().cumsum(1), (1, 0))
    following = torch.where(again, place[:, 1:], _PLACES)
    following = F.pad(following, (0, 1), value=_PLACES)
    return place.scatter(1, place, group), place.scatter(1, place, following)
