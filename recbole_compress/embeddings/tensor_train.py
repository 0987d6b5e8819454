"""A table in tensor-train form, plain or semi: a few small cores in place of a row per item."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_compress.build_cache import BuildCache, KeepsBuilt
from recbole_compress.embeddings.base import ItemEmbedding
from recbole_compress.functional.cross_entropy import linear_cross_entropy
from recbole_compress.functional.tensor_train import (
    merge_cores,
    normal_cores,
    tensor_train_rows,
    tensor_train_scores,
    tensor_train_table,
)
from recbole_compress.functional.tensor_train_costs import (
    reads_whole_table,
    scoring_macs,
    scoring_plan,
)
from recbole_compress.functional.tensor_train_shapes import TensorTrainShape
from recbole_compress.functional.tensor_train_svd import tensor_train_svd
from recbole_compress.functional.topk import row_topk

__all__ = ["TensorTrainEmbedding"]


class TensorTrainEmbedding(KeepsBuilt, ItemEmbedding):
    """The vector of row ``i`` is ``G_1[i_1] @ ... @ G_d[i_d]``, with ``i`` in mixed radix.

    Neighbouring rows share a slice of the first core and learn from each other, so it matters which
    items are neighbours: item ``id`` has the row ``(id - 1) * factor % (num_embeddings - 1)``.

    Stores ``sum(R_{k-1} * J_k * I_k * R_k)`` numbers. The padding id is no row of the table, and
    rows beyond the catalogue are no items: nobody reads, ranks or trains them. A *semi*-tensor
    train is the plain one of another shape, see
    :mod:`~recbole_compress.functional.semi_tensor_train`, so there is one class for both.

    The table itself is built only where that is less work: for the loss over all items, and for
    large batches. Out of training (``eval()``, no gradients) it is then kept, never saved, until
    the cores change. One request is always scored from the cores.

    Args:
        num_embeddings: Catalogue size including the padding id 0.
        shape: From :func:`~recbole_compress.functional.tensor_train_shapes.choose_shape`.
        init_std: Root mean square of the table's entries at the start, met exactly.
        factor: 1 for rows in the order of ids, or
            :func:`~recbole_compress.functional.scattered_rows.scattering_factor`.

    Attributes:
        cores: ``(R_{k-1}, J_k, I_k, R_k)`` each.

    Raises:
        ValueError: A shape with fewer rows than there are items.

    Example:
        >>> from recbole_compress.functional.tensor_train_shapes import choose_shape
        >>> table = TensorTrainEmbedding(40_728, choose_shape(40_727, 128, ranks=60, stp_factor=2))
        >>> table(torch.tensor([[0, 40_727]])).shape, sum(p.numel() for p in table.parameters())
        (torch.Size([1, 2, 128]), 137040)

    Reference:
        OD-Rec: Xia et al., "On-Device Next-Item Recommendation with Self-Supervised Knowledge
        Distillation", SIGIR 2022, arXiv:2204.11091; plain: Hrinchuk et al., arXiv:1901.10787.
        Differs from OD-Rec's released code: all cores are trained, a row is the product of its
        own cores for inputs and outputs alike, and any ``t`` is possible.
    """

    row_of_item: Tensor

    def __init__(
        self,
        num_embeddings: int,
        shape: TensorTrainShape,
        init_std: float = 0.02,
        factor: int = 1,
    ) -> None:
        super().__init__(num_embeddings, shape.dim)
        if shape.n_rows < num_embeddings - 1:
            raise ValueError(
                f"tt_row_shape={list(shape.rows)}: {shape.n_rows} rows for "
                f"{num_embeddings - 1} items; choose modes whose product is at least that"
            )
        self.shape = shape
        self.factor = factor
        if factor != 1:  # follows from the factor, so it is never stored
            rows = torch.arange(num_embeddings - 1) * factor % (num_embeddings - 1)
            self.register_buffer("row_of_item", rows.int(), persistent=False)
        self.cores = nn.ParameterList(normal_cores(shape, init_std))
        self._cache: BuildCache[Tensor] = BuildCache()

    @classmethod
    def from_dense(
        cls, table: Tensor, shape: TensorTrainShape, factor: int = 1
    ) -> TensorTrainEmbedding:
        """A tensor train of this shape close to a dense table, by TT-SVD.

        With two cores and no spare rows it is the closest; more cores are cut off one by one.

        Args:
            table: ``(num_embeddings, dim)``; row 0 is padding and does not count.
            shape: Plain or semi, as for the constructor.
            factor: As for the constructor.

        Raises:
            ValueError: A table that does not fit the shape.

        Example:
            >>> dense = torch.randn(7, 4)
            >>> full = TensorTrainShape(rows=(2, 3), cols=(2, 2), ranks=(4,))
            >>> embedding = TensorTrainEmbedding.from_dense(dense, full)
            >>> torch.allclose(embedding.dense_weight()[1:], dense[1:], atol=1e-5)
            True
        """
        embedding = cls(len(table), shape, factor=factor).to(table.device)
        if table.dtype == torch.float64:
            embedding.double()
        embedding.approximate_(table)
        return embedding

    def forward(self, ids: Tensor) -> Tensor:
        distinct, place = torch.unique(ids, return_inverse=True)
        self._check_ids(distinct)
        gradients, kept = torch.is_grad_enabled(), self._may_keep()
        # Not by what is there: what one request costs must not depend on what was evaluated before.
        if not reads_whole_table(self.shape, len(distinct), gradients=gradients, kept=kept):
            vectors = tensor_train_rows(list(self.cores), self._rows_of(distinct))
        elif kept:
            vectors = F.embedding((distinct - 1).clamp(min=0), self._items())
        else:
            # By columns, as the table lies and its gradient: by rows takes several times as long.
            vectors = self._build().T.index_select(1, self._rows_of(distinct)).T.contiguous()
        return F.embedding(place, vectors * (distinct != 0).unsqueeze(-1))

    def dense_weight(self) -> Tensor:
        padding = self.cores[0].new_zeros(1, self.embedding_dim)
        return torch.cat([padding, self._items()])

    @torch.no_grad()
    def approximate_(self, table: Tensor) -> None:
        self._check_table(table)
        n_items = self.num_embeddings - 1
        back = pow(self.factor, -1, n_items)
        items = torch.arange(n_items, device=table.device) * back % n_items
        for parameter, core in zip(
            self.cores, tensor_train_svd(table[1:][items], self.shape), strict=True
        ):
            parameter.copy_(core)

    def scores(self, hidden: Tensor) -> Tensor:
        by_row = self._scores_by_row(hidden)
        logits = hidden @ self._items().T if by_row is None else self._of_items(by_row)
        return F.pad(logits, (1, 0))

    def topk(self, hidden: Tensor, k: int) -> tuple[Tensor, Tensor]:
        by_row = self._scores_by_row(hidden)
        if by_row is None:
            return super().topk(hidden, k)
        # A few ids are brought back to their order, and not the scores of all.
        n_items = self.num_embeddings - 1
        values, rows = row_topk(by_row[:, :n_items], k)
        return values, rows * pow(self.factor, -1, n_items) % n_items + 1

    def _scores_by_row(self, hidden: Tensor) -> Tensor | None:
        """Products with every row, core by core; None where the table is less work."""
        plan = scoring_plan(self.shape, len(hidden), table_ready=self._kept_items() is not None)
        if len(plan) == 1:
            return None
        cores = iter(self.cores)
        merged = [merge_cores(list(itertools.islice(cores, size))) for size in plan]
        return tensor_train_scores(merged, hidden)

    def scorer(self) -> tuple[Callable[[Tensor], Tensor], tuple[Tensor, ...]]:
        if self.factor != 1 or self._may_keep():
            items = self._items()
            return (lambda hidden: F.pad(hidden @ items.T, (1, 0))), (items,)
        # The whole table, as in cross_entropy below: what is no item is cut from the scores.
        table = self._build()
        ends = (1, self.num_embeddings - 1 - len(table))
        return (lambda hidden: F.pad(hidden @ table.T, ends)), (table,)

    def scores_macs(self) -> int:
        return scoring_macs(self.shape, 1, scoring_plan(self.shape, 1))

    def cross_entropy(
        self,
        hidden: Tensor,
        targets: Tensor,
        chunk_size: int | None = None,
        excluded: Tensor | None = None,
    ) -> Tensor:
        # Not the items' rows alone: a slice would copy the gradient of the whole table.
        return linear_cross_entropy(
            hidden,
            self._build(),
            self._classes_of(targets),
            n_classes=self.num_embeddings - 1,
            excluded=None if excluded is None else self._classes_of(excluded),
            chunk_size=chunk_size,
        )

    def _rows_of(self, ids: Tensor) -> Tensor:
        """The rows of items; padding reads any row, and whoever asks masks it."""
        if self.factor == 1:
            return (ids - 1).clamp(min=0)
        return (ids.long() - 1) * self.factor % (self.num_embeddings - 1)

    def _classes_of(self, ids: Tensor) -> Tensor:
        """The rows of items; -1, which is no class, for what is none."""
        no_item = (ids < 1) | (ids >= self.num_embeddings)
        return self._rows_of(ids).masked_fill(no_item, -1)

    def _check_ids(self, distinct: Tensor) -> None:
        """Any number has a row, so what is no id must be noticed. ``distinct`` is sorted."""
        if len(distinct) and not 0 <= int(distinct[0]) <= int(distinct[-1]) < self.num_embeddings:
            raise IndexError(
                f"ids from {int(distinct[0])} to {int(distinct[-1])}: expected item ids 1 .. "
                f"{self.num_embeddings - 1}, or 0 for padding"
            )

    def _of_items(self, by_row: Tensor) -> Tensor:
        """Columns in the order of rows, in the order of ids, without rows that are no item."""
        if self.factor == 1:
            return by_row.narrow(1, 0, self.num_embeddings - 1)
        return by_row.index_select(1, self.row_of_item)

    def _items(self) -> Tensor:
        """The items' vectors in the order of ids, ``(num_embeddings - 1, dim)``."""
        if self._may_keep():
            return self._cache.get_or_build(self.cores, self._items_to_keep)
        return self._of_items(self._build().T).T  # by columns, as the table lies

    def _items_to_keep(self) -> Tensor:
        """Row by row, as later lookups want them."""
        table = self._build()
        if self.factor == 1:
            return table[: self.num_embeddings - 1]
        return table.contiguous().index_select(0, self.row_of_item)

    def _kept_items(self) -> Tensor | None:
        return self._cache.get(self.cores) if self._may_keep() else None

    def _build(self) -> Tensor:
        """The table row by row, ``(n_rows, dim)``."""
        cores = list(self.cores)
        with torch.autocast(cores[0].device.type, enabled=False):  # the loss is exact, so is this
            return tensor_train_table(cores)

    def extra_repr(self) -> str:
        shape = self.shape
        return f"{super().extra_repr()}, rows={shape.rows}, cols={shape.cols}, ranks={shape.ranks}"
