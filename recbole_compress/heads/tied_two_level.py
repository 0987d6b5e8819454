"""A two-level head that scores with the input side's item blocks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from recbole_compress.embeddings.base import ItemEmbedding
from recbole_compress.embeddings.blockwise import BlockwiseEmbedding
from recbole_compress.heads.shared_embedding import SharesEmbedding
from recbole_compress.heads.two_level_softmax import TwoLevelSoftmaxHead

__all__ = ["TiedTwoLevelHead"]


class TiedTwoLevelHead(TwoLevelSoftmaxHead, SharesEmbedding[BlockwiseEmbedding]):
    """CpRec's two-level softmax over the very tables that the blockwise embedding reads.

    The first level scores the popular items' rows and one row per cluster token, a tail its
    narrow rows behind a projection. Only the tokens and the projections are the head's own, so
    the output side adds next to nothing to the model.

    Args:
        embedding: The input side, a :class:`~recbole_compress.embeddings.BlockwiseEmbedding`.
        chunk_size: See :class:`~recbole_compress.heads.base.ItemHead`.
        init_std: Standard deviation of the tokens' entries at the start.

    Raises:
        ValueError: An embedding without item blocks.

    Example:
        >>> from recbole_compress.embeddings import ItemBlocks
        >>> blocks = ItemBlocks((1, 3), torch.tensor([-1, 2, 0, 1, 3], dtype=torch.int32))
        >>> head = TiedTwoLevelHead(BlockwiseEmbedding(blocks, embedding_dim=4, dims=(4, 2)))
        >>> sum(p.numel() for p in head.parameters()), head.scores(torch.ones(1, 4)).shape
        (12, torch.Size([1, 5]))

    Reference:
        Sun et al., SIGIR 2020, arXiv:2004.13139, keep the two sides apart in every published
        variant. Differs: they share their tables here.
    """

    def __init__(
        self,
        embedding: ItemEmbedding,
        chunk_size: int | None = None,
        init_std: float = 0.02,
    ) -> None:
        if not isinstance(embedding, BlockwiseEmbedding):
            raise ValueError(
                f"{type(embedding).__name__} has no item blocks to score with; choose "
                "item_embedding=blockwise, or item_head=two_level"
            )
        dim, tail_dims = embedding.embedding_dim, embedding.dims[1:]
        super().__init__(embedding.item_blocks, dim, tail_dims, chunk_size)
        self._share(embedding)
        self.tokens = nn.Parameter(torch.empty(len(self.tail_dims), self.embedding_dim))
        nn.init.normal_(self.tokens, std=init_std)
        self.tail_projections = nn.ParameterList(
            # A copy: what maps a narrow row to an input is a good start for the way back.
            nn.Parameter(embedding.projection_of(k + 1).detach().clone())
            for k in range(len(self.tail_dims))
        )

    def _take_over(self, popular: Tensor, tails: list[Tensor], tokens: list[Tensor]) -> None:
        for k, token in enumerate(tokens):
            self.tokens[k] = token
            self.tail_projections[k].copy_(self.embedding.projection_of(k + 1))

    def scorer(self) -> tuple[Callable[[Tensor], Tensor], tuple[Tensor, ...]]:
        own, embedding = self.parameters(), self.embedding.parameters()
        return self.scores, tuple(dict.fromkeys([*own, *embedding]))

    def factors(self) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        head_weight = torch.cat([self.embedding.block_weight(0), self.tokens])
        tails = zip(self.tail_projections, list(self.embedding.tables)[1:], strict=True)
        return head_weight, list(tails)

    def _stored(self) -> list[Tensor]:
        # By name: quantized tables are made of buffers, and no parameters.
        tables, projections = self.embedding.tables, self.embedding.projections.values()
        return [self.tokens, *self.tail_projections, *tables, *projections]
