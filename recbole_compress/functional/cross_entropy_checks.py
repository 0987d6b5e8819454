"""What a cross-entropy over many classes refuses, each with a ``ValueError`` of one line."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["bounds", "check", "check_chunks", "check_shapes", "check_targets"]


def check(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    first_class: int,
    end: int,
    excluded: Tensor | None,
    reduction: str,
    chunk_size: int | None,
) -> None:
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction={reduction!r}: choose 'mean' or 'sum'")
    check_shapes(hidden, weight, targets)
    check_chunks(len(hidden), excluded, chunk_size)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"bias {tuple(bias.shape)}: expected one number per weight row, ({len(weight)},)"
        )
    if not first_class <= end <= len(weight):
        raise ValueError(
            f"first_class={first_class}, n_classes={end - first_class}: the weight has "
            f"{len(weight)} rows"
        )
    check_targets(targets, first_class, end)


def check_shapes(hidden: Tensor, weight: Tensor, targets: Tensor) -> None:
    fits = hidden.dim() == weight.dim() == 2 and hidden.shape[1] == weight.shape[1]
    if not fits or targets.shape != hidden.shape[:1]:
        raise ValueError(
            f"hidden {tuple(hidden.shape)}, weight {tuple(weight.shape)}, targets "
            f"{tuple(targets.shape)}: expected (N, dim), (len, dim) and (N,)"
        )


def check_chunks(n: int, excluded: Tensor | None, chunk_size: int | None) -> None:
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size}: choose 1 or more, or None for the default")
    if excluded is not None and (excluded.dim() != 2 or len(excluded) != n):
        raise ValueError(
            f"excluded {tuple(excluded.shape)}: expected classes for every row, ({n}, E)"
        )


def check_targets(targets: Tensor, first_class: int, end: int) -> None:
    if len(targets) == 0:
        return
    lowest, highest = bounds(targets)
    if lowest < first_class or highest >= end:
        raise ValueError(
            f"targets from {lowest} to {highest}: expected classes from {first_class} to {end - 1}"
        )


def bounds(ids: Tensor) -> tuple[int, int]:
    """The lowest and the highest, of which there must be one, in a single wait for the device.

    Example:
        >>> bounds(torch.tensor([4, 2, 7]))
        (2, 7)
    """
    lowest, highest = torch.stack(ids.aminmax()).tolist()
    return lowest, highest
