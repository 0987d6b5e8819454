"""Cutting train sequences into windows so that every target is trained once, in one forward."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_compress.errors import ConfigError

__all__ = ["Windows", "cut_windows", "window_stride"]


@dataclass(frozen=True)
class Windows:
    """Windows over one long array of items; pure indices, no copied histories.

    Attributes:
        starts: Position of a window's first input, ``(W,)``.
        lengths: Number of inputs, ``(W,)``.
        counted: Only the last ``counted`` positions of a window carry a loss, ``(W,)``; the
            positions before them are context that another window trains.
    """

    starts: Tensor
    lengths: Tensor
    counted: Tensor

    def __len__(self) -> int:
        return len(self.starts)


def window_stride(max_length: int, stride: int | None, min_context: int | None) -> int:
    """Number of new targets per further window, from what the user gave.

    The first target that a window counts has ``max_length + 1 - stride`` items of context, so a
    minimum context of ``c`` allows strides up to ``max_length + 1 - c``.

    Args:
        max_length: Inputs per window (``MAX_ITEM_LIST_LENGTH``).
        stride: ``window_stride`` or None.
        min_context: ``window_min_context`` or None, which stands for a fifth of a window: what
            measured best on ml-100k, see docs/results/ml-100k.md.

    Raises:
        ConfigError: Values out of range or contradicting each other.

    Example:
        >>> window_stride(50, None, None), window_stride(50, None, 1), window_stride(50, 10, None)
        (41, 50, 10)
    """
    if min_context is not None and not 1 <= min_context <= max_length:
        raise ConfigError(
            f"window_min_context={min_context}: choose 1 .. {max_length} (MAX_ITEM_LIST_LENGTH)"
        )
    widest = max_length + 1 - (min_context or max(1, max_length // 5))
    if stride is None:
        return widest
    limit = widest if min_context is not None else max_length
    if not 1 <= stride <= limit:
        why = f"window_min_context={min_context}" if min_context is not None else "a window"
        raise ConfigError(
            f"window_stride={stride}: choose 1 .. {limit}; a larger stride leaves targets with "
            f"less context than {why} of MAX_ITEM_LIST_LENGTH={max_length} gives"
        )
    return stride


def cut_windows(firsts: Tensor, lasts: Tensor, max_length: int, stride: int) -> Windows:
    """Windows in which every position of ``first + 1 .. last`` is a target exactly once.

    Cut from the newest target backwards, so that a short rest falls to the oldest items, where a
    window has all the context there is and costs only its own length.

    Args:
        firsts: Position of every sequence's first item, ``(S,)``.
        lasts: Position of every sequence's last train target, ``(S,)``; ``lasts > firsts``.
        max_length: Inputs per window.
        stride: Targets per window beyond a sequence's first, ``1 .. max_length``.

    Example:
        >>> w = cut_windows(torch.tensor([0]), torch.tensor([7]), max_length=4, stride=2)
        >>> list(zip(w.starts.tolist(), w.lengths.tolist(), w.counted.tolist()))
        [(0, 3, 3), (1, 4, 2), (3, 4, 2)]
    """
    totals = lasts - firsts
    further = ((totals - max_length).clamp(min=0) + stride - 1) // stride
    per_sequence = further + 1
    owner = torch.repeat_interleave(torch.arange(len(firsts)), per_sequence)
    index = torch.arange(len(owner)) - (per_sequence.cumsum(0) - per_sequence)[owner]
    ends = lasts[owner] - (further[owner] - index) * stride  # position of the newest target
    first_counts = totals[owner] - further[owner] * stride
    counted = torch.where(index == 0, first_counts, torch.full_like(index, stride))
    lengths = (ends - firsts[owner]).clamp(max=max_length)
    return Windows(starts=ends - lengths, lengths=lengths, counted=counted)
