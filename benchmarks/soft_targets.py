"""Processor time of learning soft targets: a two-level head block by block, and by its scores.

    python -m benchmarks.soft_targets

Forward and backward of the loss of a distillation step, 256 targets, width 64, item blocks as in
amazon-beauty, a dense teacher, without a pointer at the sequence's own items and with one:
``by_blocks`` as these heads do it, ``by_scores`` as any head does, from the scores of all items,
and ``cross_entropy`` alone. All three take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.in_turns import losses_in_turns
from benchmarks.results_file import common_parser, measure_all
from recbole_compress.backbones.pointer import Pointer
from recbole_compress.embeddings import ItemBlocks
from recbole_compress.heads import ItemHead, PointerHead, TwoLevelHead, UntiedHead

N_TARGETS, DIM, LENGTH = 256, 64, 50
SIZES = (1_542, 7_269, 45_731)
# Widths of the tails: the paper's quarter from block to block, and half.
TAILS = {"a quarter": (16, 4), "half": (32, 16)}
WEIGHTS = (0.4, 0.6)


def entries() -> Iterator[dict[str, Any]]:
    for narrowing in TAILS:
        yield {"narrowing": narrowing}
        yield {"narrowing": narrowing, "repeats": "pointer"}


def measure(
    narrowing: str,
    seed: int,
    threads: int,
    turns: int = 9,
    sizes: tuple[int, ...] = SIZES,
    repeats: str = "none",
) -> dict[str, Any]:
    """Median processor milliseconds of each way, in this process."""
    torch.manual_seed(seed)
    n_items = sum(sizes)
    order = torch.cat([torch.tensor([-1]), torch.randperm(n_items)]).int()
    head: ItemHead = TwoLevelHead(ItemBlocks(sizes, order), DIM, TAILS[narrowing])
    teacher = UntiedHead(n_items + 1, DIM).requires_grad_(False)
    hidden = torch.randn(N_TARGETS, DIM)
    known, targets = torch.randn(N_TARGETS, DIM), torch.randint(1, n_items + 1, (N_TARGETS,))
    if repeats == "pointer":
        head = PointerHead(head)
        sequences = torch.randint(1, n_items + 1, (N_TARGETS, LENGTH))
        ends = torch.full((N_TARGETS, 1), LENGTH)
        hidden = Pointer(DIM, LENGTH)(hidden.unsqueeze(1), sequences, ends).squeeze(1).detach()
    hidden.requires_grad_()

    def taught(loss: Callable[..., Tensor]) -> Tensor:
        answers = (lambda rows: teacher.scores(known[rows]), 1.0, "mean", targets, WEIGHTS)
        return loss(head, hidden, *answers)

    ways: dict[str, Callable[[], Tensor]] = {
        "by_scores": lambda: taught(ItemHead.soft_target_loss),
        "by_blocks": lambda: taught(type(head).soft_target_loss),
        "cross_entropy": lambda: head.loss(hidden, targets),
    }
    ms, losses = losses_in_turns(ways, (hidden, head), turns)
    return {
        **ms,
        "loss_difference": abs(losses["by_scores"] - losses["by_blocks"]),
    }


def main() -> None:
    options = common_parser("soft_targets", (__doc__ or "").splitlines()[0]).parse_args()
    measure_all("benchmarks.soft_targets", entries(), options)


if __name__ == "__main__":
    main()
