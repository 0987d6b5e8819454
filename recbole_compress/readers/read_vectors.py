"""Item vectors that a model has read, as something to take gradients in."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["ReadVectors"]


class ReadVectors(NamedTuple):
    """The item vectors that a model has read, as something to take gradients in.

    Attributes:
        leaf: ``(rows, width, dim)``.
        ids: The items, ``(rows, width)``; padding and masks among them.
        row: The original sequence that every row is a part of, ``(rows,)``.
        offset: Items that the model dropped on the left.
    """

    leaf: Tensor
    ids: Tensor
    row: Tensor
    offset: int

    def per_item(self, gradient: Tensor, item_seq: Tensor) -> Tensor:
        """A gradient in ``leaf`` as one in the items of the sequences, ``(*item_seq.shape, dim)``.

        What stood in the place of an item, padding or a mask, is no part of it.
        """
        row, device = self.row.to(gradient.device), gradient.device
        width = min(gradient.shape[1], item_seq.shape[1] - self.offset)
        told = slice(self.offset, self.offset + width)
        is_item = self.ids[:, :width] == item_seq.to(device)[row, told]
        total = gradient.new_zeros(*item_seq.shape, gradient.shape[2])
        total[:, told].index_add_(0, row, gradient[:, :width] * is_item.unsqueeze(2))
        return total
