"""Every item head, and its dense truth."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_compress.embeddings import (
    BlockwiseEmbedding,
    DenseEmbedding,
    ItemBlocks,
    LowRankEmbedding,
    ProductQuantizedEmbedding,
    TensorTrainEmbedding,
)
from recbole_compress.functional.tensor_train_shapes import choose_shape
from recbole_compress.heads import (
    ItemHead,
    LowRankHead,
    TiedCodesHead,
    TiedHead,
    TiedTwoLevelHead,
    TwoLevelHead,
    UntiedHead,
)

__all__ = ["CASES", "DIM", "Truth", "shuffled_blocks"]

DIM = 6
Truth = Callable[[Tensor], Tensor]


def shuffled_blocks(*sizes: int) -> ItemBlocks:
    """Item blocks over ids in random popularity order."""
    order = torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(1))
    return ItemBlocks(sizes, torch.cat([torch.tensor([-1]), order]).int())


def with_padding(item_scores: Tensor) -> Tensor:
    return F.pad(item_scores, (1, 0), value=-torch.inf)


def untied(n: int, bias: bool) -> tuple[ItemHead, Truth]:
    head = UntiedHead(n, DIM, bias=bias)
    if head.bias is None:
        return head, lambda hidden: with_padding(hidden @ head.weight[1:].T)
    return head, lambda hidden: with_padding(hidden @ head.weight[1:].T + head.bias[1:])


def low_rank(n: int, bias: bool) -> tuple[ItemHead, Truth]:
    head = LowRankHead(n, DIM, rank=2, bias=bias)

    def truth(hidden: Tensor) -> Tensor:
        logits = hidden @ (head.weight @ head.projection).T
        return with_padding(logits if head.bias is None else logits + head.bias)

    return head, truth


def tied(embedding: nn.Module) -> tuple[ItemHead, Truth]:
    head = TiedHead(embedding)
    head.owner = embedding  # a model registers it; here the head must, to have parameters to test
    return head, lambda hidden: with_padding(hidden @ embedding.dense_weight()[1:].T)


def two_level(*sizes: int, tail_dims: tuple[int, ...]) -> tuple[ItemHead, Truth]:
    head = TwoLevelHead(shuffled_blocks(*sizes), DIM, tail_dims)
    return head, lambda hidden: two_level_truth(
        hidden, head.item_blocks, head.weight, head.tail_projections, head.tail_weights
    )


def tied_two_level(*sizes: int, dims: tuple[int, ...]) -> tuple[ItemHead, Truth]:
    embedding = BlockwiseEmbedding(shuffled_blocks(*sizes), DIM, dims).double()
    head = TiedTwoLevelHead(embedding)
    head.owner = embedding.tables  # the input's projections have no part in the scores
    head.head_projection = embedding.projections.get("0")

    def truth(hidden: Tensor) -> Tensor:
        popular = embedding.dense_weight()[embedding.item_blocks.id_of_rank[: sizes[0]]]
        return two_level_truth(
            hidden,
            embedding.item_blocks,
            torch.cat([popular, head.tokens]),
            head.tail_projections,
            list(embedding.tables)[1:],
        )

    return head, truth


def tied_codes(n: int, m: int) -> tuple[ItemHead, Truth]:
    known = torch.Generator().manual_seed(2)
    codes = torch.stack([torch.randperm(n - 1, generator=known) for _ in range(m)]).byte()
    head = TiedCodesHead(ProductQuantizedEmbedding(codes, 23, DIM).double())

    def truth(hidden: Tensor) -> Tensor:
        parts = [head.centroids[j, codes[j].long()] for j in range(m)]
        return with_padding(hidden @ torch.cat(parts, 1).T)

    return head, truth


def two_level_truth(hidden, blocks, head_weight, projections, weights) -> Tensor:
    n_head = blocks.sizes[0]
    first_level = (hidden @ head_weight.T).softmax(1)
    probabilities = [first_level[:, :n_head]]
    for i, (projection, weight) in enumerate(zip(projections, weights, strict=True)):
        within = (hidden @ (weight @ projection).T).softmax(1)
        probabilities.append(first_level[:, [n_head + i]] * within)
    by_rank = torch.cat(probabilities, 1).log()
    columns = [by_rank[:, rank] for rank in blocks.rank_of_id[1:].tolist()]
    return with_padding(torch.stack(columns, 1))


CASES: dict[str, Callable[[], tuple[ItemHead, Truth]]] = {
    "untied": lambda: untied(23, bias=False),
    "untied-bias": lambda: untied(23, bias=True),
    "untied-one-item": lambda: untied(2, bias=False),
    "low_rank": lambda: low_rank(23, bias=False),
    "low_rank-bias": lambda: low_rank(23, bias=True),
    "tied-dense": lambda: tied(DenseEmbedding(23, DIM)),
    "tied-low_rank": lambda: tied(LowRankEmbedding(23, DIM, rank=2)),
    "tied-blockwise": lambda: tied(BlockwiseEmbedding(shuffled_blocks(9, 13), DIM, (6, 2))),
    "tied-tensor_train": lambda: tied(TensorTrainEmbedding(24, choose_shape(23, DIM, ranks=3))),
    "tied-semi_tensor_train": lambda: tied(
        TensorTrainEmbedding(24, choose_shape(23, DIM, ranks=4, n_cores=3, stp_factor=2))
    ),
    "tied-product_quantized": lambda: tied(
        ProductQuantizedEmbedding(torch.arange(44).view(2, 22).byte() % 23, 23, DIM)
    ),
    "tied_codes": lambda: tied_codes(24, m=3),
    "two_level-no-tail": lambda: two_level(22, tail_dims=()),
    "two_level-one-tail": lambda: two_level(5, 17, tail_dims=(3,)),
    "two_level-three-tails": lambda: two_level(4, 7, 8, 3, tail_dims=(3, 2, 1)),
    "tied_two_level-three-tails": lambda: tied_two_level(4, 7, 8, 3, dims=(6, 3, 2, 1)),
    "tied_two_level-narrow-head": lambda: tied_two_level(9, 13, dims=(4, 2)),
    "two_level-all-single": lambda: two_level(1, 1, 1, tail_dims=(1, 1)),
}
