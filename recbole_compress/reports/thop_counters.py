"""Makes RecBole's own operation count see our modules.

``recbole.utils.get_flops`` runs ``model.predict`` on one row and asks ``thop`` for the cost of
every submodule, by exact type: what is not registered is free. Counted here as RecBole counts its
own: multiply-adds under the name of FLOPs, a lookup as the numbers it reads, attention products
not at all. The full count, of ranking the whole catalogue, is in ``macs``.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from recbole_compress.backbones import CausalConvolution
from recbole_compress.embeddings import (
    BlockwiseEmbedding,
    DenseEmbedding,
    LowRankEmbedding,
    ProductQuantizedEmbedding,
    TensorTrainEmbedding,
)
from recbole_compress.functional.tensor_train_costs import row_costs
from recbole_compress.heads import (
    LowRankHead,
    PointerHead,
    TiedCodesHead,
    TiedHead,
    TiedTwoLevelHead,
    TwoLevelHead,
    UntiedHead,
)

__all__ = ["COUNTERS", "register"]


def _causal_convolution(
    module: CausalConvolution, x: Tensor, dilation: int = 1, taps: Tensor | None = None
) -> int:
    return len(x) * module.macs(x.shape[1] if taps is None else len(taps))


def _full_rows(module: DenseEmbedding | ProductQuantizedEmbedding, ids: Tensor) -> int:
    return ids.numel() * module.embedding_dim


def _low_rank_embedding(module: LowRankEmbedding, ids: Tensor) -> int:
    return ids.numel() * (module.rank + module.rank * module.embedding_dim)


def _blockwise_embedding(module: BlockwiseEmbedding, ids: Tensor) -> int:
    ops = 0
    for k, asked in enumerate(_ids_per_item_block(module.item_blocks, ids)):
        projected = str(k) in module.projections
        ops += asked * module.dims[k] * (1 + (module.embedding_dim if projected else 0))
    return ops


def _tensor_train_embedding(module: TensorTrainEmbedding, ids: Tensor) -> int:
    return ids.numel() * sum(row_costs(module.shape))


def _dot_product(module: TiedHead | TiedCodesHead | UntiedHead, hidden: Tensor, ids: Tensor) -> int:
    return hidden.numel()


def _low_rank_head(module: LowRankHead, hidden: Tensor, ids: Tensor) -> int:
    return len(hidden) * (module.projection.numel() + module.rank)


def _two_level_head(module: TwoLevelHead | TiedTwoLevelHead, hidden: Tensor, ids: Tensor) -> int:
    # A probability needs the whole of the levels it passes: the first always, then one tail.
    first_level, tails = module.factors()
    _, *in_tails = _ids_per_item_block(module.item_blocks, ids)
    of_tails = (p.numel() + w.numel() for p, w in tails)
    ops = sum(asked * cost for asked, cost in zip(in_tails, of_tails, strict=True))
    return ops + len(hidden) * first_level.numel()


def _tied_two_level_head(module: TiedTwoLevelHead, hidden: Tensor, ids: Tensor) -> int:
    ops = _two_level_head(module, hidden, ids)
    if "0" in module.embedding.projections:  # the popular items' rows are built for the product
        ops += module.embedding.tables[0].numel() * module.embedding_dim
    return ops


def _pointer_head(module: PointerHead, hidden: Tensor, ids: Tensor) -> int:
    # One that is new is weighed against all that are.
    return len(hidden) * module.macs()


def _ids_per_item_block(item_blocks, ids: Tensor) -> list[int]:
    """How many of the ids lie in each item block; padding lies in none."""
    ranks = item_blocks.rank_of_id[ids]
    return [
        int(((ranks >= start) & (ranks < start + size)).sum())
        for start, size in zip(item_blocks.starts, item_blocks.sizes, strict=True)
    ]


COUNTERS: dict[type[nn.Module], Callable[..., int]] = {
    CausalConvolution: _causal_convolution,
    DenseEmbedding: _full_rows,
    LowRankEmbedding: _low_rank_embedding,
    BlockwiseEmbedding: _blockwise_embedding,
    TensorTrainEmbedding: _tensor_train_embedding,
    ProductQuantizedEmbedding: _full_rows,
    TiedCodesHead: _dot_product,
    TiedHead: _dot_product,
    UntiedHead: _dot_product,
    LowRankHead: _low_rank_head,
    TwoLevelHead: _two_level_head,
    TiedTwoLevelHead: _tied_two_level_head,
    PointerHead: _pointer_head,
}


def register() -> None:
    """Add :data:`COUNTERS` to thop's table. Idempotent."""
    with warnings.catch_warnings():  # thop compares versions with distutils as it is imported
        warnings.simplefilter("ignore", DeprecationWarning)
        register_hooks = importlib.import_module("thop.profile").register_hooks
    for kind, count in COUNTERS.items():
        register_hooks[kind] = _as_hook(count)


def _as_hook(count: Callable[..., int]) -> Callable[[Any, tuple, Any], None]:
    def count_operations(module: Any, inputs: tuple, output: Any) -> None:
        module.total_ops += count(module, *inputs)

    return count_operations
