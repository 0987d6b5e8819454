"""Processor time of the loss over all items, by a table's factors and by the table they stand for.

    python -m benchmarks.loss_by_factors

Forward and backward of one batch, 1,024 targets, width 64, gradients of the states and of every
factor. ``by_factors`` is the item embedding's own ``cross_entropy``; ``by_table`` puts the table
together and takes ``linear_cross_entropy`` of it; ``dense`` is a dense table. All take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.in_turns import losses_in_turns
from benchmarks.results_file import common_parser, measure_all
from recbole_compress.embeddings import (
    BlockwiseEmbedding,
    DenseEmbedding,
    ItemBlocks,
    ItemEmbedding,
    LowRankEmbedding,
)
from recbole_compress.functional.cross_entropy import linear_cross_entropy

N_TARGETS, DIM = 1_024, 64
# A quarter of the dense table's numbers, the catalogue cut as it is by default.
RANK, BLOCK_DIMS, SHARES = 16, (64, 24, 12), (0.05, 0.15)


def low_rank(n_items: int) -> ItemEmbedding:
    return LowRankEmbedding(n_items, DIM, RANK)


def blockwise(n_items: int) -> ItemEmbedding:
    popular = [round(share * n_items) for share in SHARES]
    order = torch.cat([torch.tensor([-1]), torch.randperm(n_items - 1)]).int()
    blocks = ItemBlocks((*popular, n_items - 1 - sum(popular)), order)
    return BlockwiseEmbedding(blocks, DIM, BLOCK_DIMS)


TABLES = {"low_rank": low_rank, "blockwise": blockwise}


def entries() -> Iterator[dict[str, Any]]:
    for n_items in (12_101, 54_542):
        for table in TABLES:
            yield {"n_items": n_items, "table": table}


def measure(n_items: int, table: str, seed: int, threads: int, turns: int = 9) -> dict[str, Any]:
    """Median processor milliseconds of each way, in this process."""
    torch.manual_seed(seed)
    factored, dense = TABLES[table](n_items), DenseEmbedding(n_items, DIM)
    hidden = torch.randn(N_TARGETS, DIM, requires_grad=True)
    targets = torch.randint(1, n_items, (N_TARGETS,))
    ways: dict[str, Callable[[], Tensor]] = {
        "dense": lambda: dense.cross_entropy(hidden, targets),
        "by_table": lambda: linear_cross_entropy(
            hidden, factored.dense_weight(), targets, first_class=1
        ),
        "by_factors": lambda: factored.cross_entropy(hidden, targets),
    }
    ms, losses = losses_in_turns(ways, (hidden, factored, dense), turns)
    return {
        "numbers": sum(p.numel() for p in factored.parameters()),
        **ms,
        "loss_difference": abs(losses["by_table"] - losses["by_factors"]),
    }


def main() -> None:
    options = common_parser("loss_by_factors", (__doc__ or "").splitlines()[0]).parse_args()
    measure_all("benchmarks.loss_by_factors", entries(), options)


if __name__ == "__main__":
    main()
