"""Which positions a stack of dilated causal convolutions has to look at for one last state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["BlockPlan", "last_position_plan", "needed_positions"]

Convolution = tuple[int, int]  # (kernel size, dilation)


@dataclass(frozen=True)
class BlockPlan:
    """What one residual block computes, positions being rows of its input.

    Attributes:
        taps: Per convolution the rows it reads, ``(positions, kernel_size)``; one past the last
            row stands for the zeros before a sequence begins.
        kept: The rows that the residual connection adds, ``(positions,)``; None for all.
    """

    taps: tuple[Tensor, ...]
    kept: Tensor | None


def needed_positions(length: int, blocks: Sequence[Sequence[Convolution]]) -> list[list[list[int]]]:
    """Positions that count for the last one, per block: its input, then after each convolution.

    Example:
        >>> needed_positions(6, [[(3, 1)], [(2, 4)]])
        [[[0, 1, 3, 4, 5], [1, 5]], [[1, 5], [5]]]
    """
    needed = [length - 1]
    plans = []
    for block in reversed(blocks):
        steps = [needed]
        for kernel_size, dilation in reversed(block):
            reach = range(0, kernel_size * dilation, dilation)
            needed = sorted({p - back for p in needed for back in reach if p >= back})
            steps.append(needed)
        plans.append(steps[::-1])
    return plans[::-1]


@lru_cache(maxsize=1024)
def last_position_plan(
    length: int, blocks: tuple[tuple[Convolution, ...], ...], device: torch.device
) -> tuple[Tensor | None, tuple[BlockPlan, ...]]:
    """Rows of the embedded sequence to begin with (None for all), and a plan per block.

    The newest tap of a convolution is its own position, so what a residual connection adds is
    always among what the block reads.

    Args:
        length: Real positions, 1 or more.
        blocks: Per residual block, ``(kernel size, dilation)`` of its convolutions in order.
        device: Where the index tensors are to lie.
    """
    steps_of_block = needed_positions(length, blocks)
    plans = []
    for block, steps in zip(blocks, steps_of_block, strict=True):
        taps = []
        for (kernel_size, dilation), reads, writes in zip(block, steps, steps[1:], strict=False):
            row = {position: i for i, position in enumerate(reads)}
            back = [dilation * i for i in reversed(range(kernel_size))]
            taps.append([[row.get(p - b, len(reads)) for b in back] for p in writes])
        row = {position: i for i, position in enumerate(steps[0])}
        kept = [row[position] for position in steps[-1]]
        same = steps[0] == steps[-1]
        plans.append(
            BlockPlan(
                tuple(_index(each, device) for each in taps),
                None if same else _index(kept, device),
            )
        )
    first = steps_of_block[0][0]
    return (None if len(first) == length else _index(first, device)), tuple(plans)


def _index(values: list, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # kept for other modes than the one that asked first
        return torch.tensor(values, device=device)
