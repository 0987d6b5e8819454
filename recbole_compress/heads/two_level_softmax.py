"""What a two-level head does with its tables, whoever they belong to."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from recbole_compress.build_cache import BuildCache, KeepsBuilt
from recbole_compress.embeddings.item_blocks import ItemBlocks
from recbole_compress.functional.cluster_tokens import fitted_token
from recbole_compress.functional.full_precision import full_precision
from recbole_compress.functional.soft_targets import weights_of_rows
from recbole_compress.functional.two_level import (
    two_level_cross_entropy,
    two_level_log_probs,
    two_level_log_softmax,
)
from recbole_compress.functional.two_level_soft_targets import (
    two_level_soft_targets,
    two_level_soft_targets_without,
)
from recbole_compress.functional.two_level_topk import (
    ColumnTables,
    column_tables,
    two_level_topk,
)
from recbole_compress.heads.base import ItemHead

__all__ = ["TwoLevelSoftmaxHead"]


class TwoLevelSoftmaxHead(KeepsBuilt, ItemHead):
    """Two-level softmax over popularity item blocks; its scores are log-probabilities.

    The first level holds the popular items and a *token* per tail, which stands for the items of
    that item block. A subclass says which tables it reads: :meth:`factors`.

    Out of training (``eval()``, no gradients) :meth:`topk` keeps a copy of the tables in the order
    that requests read them fastest, never saved, until they change.

    Args:
        item_blocks: Partition of the catalogue; shared with the item embedding.
        embedding_dim: Width of the hidden states.
        tail_dims: Stored width per tail, each 1 .. ``embedding_dim``.
        chunk_size: See :class:`~recbole_compress.heads.base.ItemHead`.

    Raises:
        ValueError: Not one width per tail, or a width outside 1 .. ``embedding_dim``.
    """

    def __init__(
        self,
        item_blocks: ItemBlocks,
        embedding_dim: int,
        tail_dims: Sequence[int],
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(item_blocks.num_embeddings, embedding_dim, chunk_size)
        n_tails = len(item_blocks.sizes) - 1
        if len(tail_dims) != n_tails or not all(1 <= d <= embedding_dim for d in tail_dims):
            raise ValueError(
                f"tail_dims={tuple(tail_dims)}: give {n_tails} widths from 1 to {embedding_dim}, "
                "one per item block after the first"
            )
        self.item_blocks = item_blocks
        self.tail_dims = tuple(tail_dims)
        self._cache: BuildCache[ColumnTables] = BuildCache()

    @abc.abstractmethod
    def factors(self) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The tables as :mod:`~recbole_compress.functional.two_level` takes them.

        :meth:`scores` equals ``two_level_log_softmax(hidden, *factors())`` with its columns in the
        order of ids. Differentiable.

        Returns:
            Popular items, then one token per tail, ``(sizes[0] + n_tails, embedding_dim)``; and
            per tail its projection and its items' rows, ``(tail_dim, embedding_dim)`` and
            ``(tail_size, tail_dim)``.
        """

    @abc.abstractmethod
    def _stored(self) -> list[Tensor]:
        """The parameters that :meth:`factors` is made of."""

    @torch.no_grad()
    def approximate_(self, table: Tensor, hidden: Tensor) -> None:
        self._check_table(table)
        popular, *tails = table[self.item_blocks.id_of_rank].split(self.item_blocks.sizes)
        self._take_over(popular, tails, [fitted_token(tail, hidden) for tail in tails])

    @abc.abstractmethod
    def _take_over(self, popular: Tensor, tails: list[Tensor], tokens: list[Tensor]) -> None:
        """Rows of the popular items, of every tail's, and a token per tail."""

    def _columns(self) -> ColumnTables:
        if not self._may_keep():
            return column_tables(*self.factors())
        return self._cache.get_or_build(self._stored(), lambda: column_tables(*self.factors()))

    def _ranks(self, ids: Tensor) -> Tensor:
        return self.item_blocks.rank_of_id[ids].long()

    def loss(self, hidden: Tensor, targets: Tensor, excluded: Tensor | None = None) -> Tensor:
        self._check_targets(targets)
        excluded = None if excluded is None else self._ranks(excluded)
        return two_level_cross_entropy(
            hidden, *self.factors(), self._ranks(targets), self.chunk_size, excluded
        )

    def soft_target_loss(
        self,
        hidden: Tensor,
        teacher_scores: Callable[[slice], Tensor],
        temperature: float = 1.0,
        reduction: str = "mean",
        targets: Tensor | None = None,
        weights: tuple[float, float] = (1.0, 0.0),
    ) -> Tensor:
        if temperature != 1:  # softened, it is no two-level softmax any more
            return super().soft_target_loss(
                hidden, teacher_scores, temperature, reduction, targets, weights
            )
        return two_level_soft_targets(
            hidden,
            *self._precise_factors(hidden),
            self._wanted(teacher_scores, hidden),
            None if targets is None else self._ranks(targets),
            weights_of_rows(len(hidden), reduction, targets, weights),
            self.chunk_size,
        )

    def soft_targets_without(
        self, hidden: Tensor, teacher_scores: Callable[[slice], Tensor], excluded: Tensor
    ) -> tuple[Tensor, Tensor]:
        return two_level_soft_targets_without(
            hidden,
            *self._precise_factors(hidden),
            self._wanted(teacher_scores, hidden),
            self._ranks(excluded),
            self.chunk_size,
        )

    def _precise_factors(self, hidden: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        with torch.autocast(hidden.device.type, enabled=False):  # the rows may be a product
            return self.factors()

    def _wanted(
        self, teacher_scores: Callable[[slice], Tensor], hidden: Tensor
    ) -> Callable[[slice], Tensor]:
        """What a teacher says, in the order of ranks and the digits of the student."""
        ids, dtype = self.item_blocks.id_of_rank, full_precision(hidden).dtype
        return lambda rows: teacher_scores(rows).to(dtype).index_select(1, ids)

    def scores(self, hidden: Tensor) -> Tensor:
        return self._by_id(two_level_log_softmax(hidden, *self.factors()))

    def log_probs(self, hidden: Tensor, excluded: Tensor) -> Tensor:
        ranks = self._ranks(excluded)
        return self._by_id(two_level_log_softmax(hidden, *self.factors(), ranks))

    def log_prob_scorer(
        self,
    ) -> tuple[Callable[[Tensor, Tensor], Tensor], tuple[Tensor, ...]]:
        return self.log_probs, self.scorer()[1]

    def log_prob_topk(self, hidden: Tensor, excluded: Tensor, k: int) -> tuple[Tensor, Tensor]:
        values, ranks, _ = two_level_topk(hidden, self._columns(), k, self._ranks(excluded))
        return values, self.item_blocks.id_of_rank[ranks]

    def _by_id(self, by_rank: Tensor) -> Tensor:
        # Padding (rank -1) borrows rank 0's column and is overwritten. index_select and not
        # indexing, which takes up to ten times as long along columns.
        scores = by_rank.index_select(1, self.item_blocks.rank_of_id.clamp(min=0))
        scores[:, self.padding_idx] = -torch.inf
        return scores

    def forward(self, hidden: Tensor, ids: Tensor) -> Tensor:
        head, tails = self.factors()

        def log_probs(hidden: Tensor, ids: Tensor) -> Tensor:
            ranks = self._ranks(ids).clamp(min=0)  # padding reads any rank and is masked below
            return two_level_log_probs(hidden, head, tails, ranks)

        return self._mask_padding(self._few_rows_at_a_time(log_probs, hidden, ids), ids)

    def item_scores(self, hidden: Tensor, ids: Tensor) -> Tensor:
        if ids.shape[1] == 1:
            return self(hidden, ids.squeeze(1)).unsqueeze(1)
        # What several items are weighed against is worked out once per row.
        return self._few_rows_at_a_time(
            lambda hidden, ids: self.scores(hidden).gather(1, ids), hidden, ids
        )

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        values, ids, _ = self._topk_counting_opened_tails(hidden, k)
        return values, ids

    def _topk_counting_opened_tails(
        self, hidden: Tensor, k: int
    ) -> tuple[Tensor, Tensor, list[int]]:
        """Values, ids, and for every tail the number of rows that had to look into it."""
        self._check_k(k)
        values, ranks, opened = two_level_topk(hidden, self._columns(), k)
        return values, self.item_blocks.id_of_rank[ranks], opened

    def macs(self) -> int:
        head, tails = self.factors()
        return head.numel() + sum(p.numel() + w.numel() for p, w in tails)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, sizes={self.item_blocks.sizes}, tail_dims={self.tail_dims}"
