"""What every item embedding promises."""

from __future__ import annotations

import abc

from torch import Tensor, nn

__all__ = ["ItemEmbedding"]


class ItemEmbedding(nn.Module, abc.ABC):
    """Item id -> vector. Id 0 is padding and reads as zeros.

    A new method needs ``forward`` and ``dense_weight``; the conformance suite in
    ``tests/embeddings`` checks that the two say the same.

    Args:
        num_embeddings: Catalogue size including the padding id 0.
        embedding_dim: Width of the vectors handed out.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        if num_embeddings < 2:
            raise ValueError(
                f"num_embeddings={num_embeddings}: an item table needs the padding id and at "
                "least one item; the data set seems to be empty"
            )
        if embedding_dim < 1:
            raise ValueError(f"embedding_dim={embedding_dim}: a vector needs a width of 1 or more")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = 0

    @abc.abstractmethod
    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of ``ids``, ``(*ids.shape, embedding_dim)``; equals ``dense_weight()[ids]``."""

    @abc.abstractmethod
    def dense_weight(self) -> Tensor:
        """The table this embedding stands for, ``(num_embeddings, embedding_dim)``, row 0 zero.

        Differentiable. May be slow and large: it is the truth for tests and for tied heads.
        """

    def extra_repr(self) -> str:
        return f"num_embeddings={self.num_embeddings}, embedding_dim={self.embedding_dim}"
