"""Reading the item embedding of the input side without owning it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from torch import nn

if TYPE_CHECKING:
    from recbole_compress.embeddings.base import ItemEmbedding

__all__ = ["SharesEmbedding"]

Embedding = TypeVar("Embedding", bound="ItemEmbedding")


class SharesEmbedding(nn.Module, Generic[Embedding]):
    """A module that reads an item embedding, which stays the model's and is none of its parts.

    Example:
        >>> from recbole_compress.embeddings import DenseEmbedding
        >>> from recbole_compress.heads import TiedHead
        >>> table = DenseEmbedding(5, 8)
        >>> head = TiedHead(table)
        >>> isinstance(head, SharesEmbedding), head.embedding is table, list(head.children())
        (True, True, [])
    """

    def _share(self, embedding: Embedding) -> None:
        # In a tuple, so that torch does not register it here too: it belongs to the model's
        # input side, and its weights must be saved and counted once. The module and not its
        # weight, because ``.to()``, loading or compression may replace the weight.
        self._embedding = (embedding,)

    @property
    def embedding(self) -> Embedding:
        """The item embedding that the model reads its input with."""
        return self._embedding[0]
