"""Each process's part: of every batch in training, of the batches in evaluation."""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from recbole.data.dataloader import NegSampleEvalDataLoader
from torch import Tensor
from torch.utils.data import DataLoader

__all__ = ["BatchShares", "evaluation_share", "training_share"]


class BatchShares:
    """This process's examples of every batch, so that all take the same steps together.

    Every process draws the same batches and keeps the examples that hold about one part in
    ``world_size`` of the batch's targets; all parts together are the batch, in its order. Where
    there is nothing left to keep, one example stands in, with no weight.

    Args:
        batches: The whole batches: lists of example numbers; the same in every process.
        targets: Targets per example, ``(n,)``, int64; None for one each.
        rank: Which part.
        world_size: Number of parts.

    Attributes:
        scales: For every batch handed out and not yet trained on: this part's share of the
            batch's targets times ``world_size``. What the mean over this part's targets is to be
            multiplied by, so that the mean over processes is the mean over the batch.

    Example:
        >>> shares = BatchShares([[4, 5, 6], [7]], None, rank=0, world_size=2)
        >>> list(shares), list(shares.scales)
        ([[4], [7]], [0.6666666666666666, 0.0])
        >>> shares = BatchShares([[4, 5, 6], [7]], None, rank=1, world_size=2)
        >>> list(shares), list(shares.scales)
        ([[5, 6], [7]], [1.3333333333333333, 2.0])
    """

    def __init__(self, batches: Any, targets: Tensor | None, rank: int, world_size: int) -> None:
        self.batches, self.targets = batches, targets
        self.rank, self.world_size = rank, world_size
        self.scales: deque[float] = deque()

    def __iter__(self) -> Iterator[list[int]]:
        self.scales.clear()
        # Not a generator: the batches are to be drawn when RecBole's own loader would draw them.
        return map(self._own, iter(self.batches))

    def __len__(self) -> int:
        return len(self.batches)

    def _own(self, batch: Sequence[int]) -> list[int]:
        examples = torch.as_tensor(batch)
        weights = torch.ones_like(examples) if self.targets is None else self.targets[examples]
        total = int(weights.sum())
        middle = 2 * weights.cumsum(0) - weights
        own = (middle * self.world_size).div(max(1, 2 * total), rounding_mode="floor") == self.rank
        self.scales.append(self.world_size * int(weights[own].sum()) / max(1, total))
        return examples[own].tolist() or examples[:1].tolist()


def training_share(
    loader: DataLoader, targets: Tensor | None, rank: int, world_size: int
) -> DataLoader:
    """The loader's batches, of each the part of one process; its sampler is a BatchShares.

    Args:
        loader: All batches.
        targets: Targets per example, ``(n,)``; None for one each.
        rank: Which part.
        world_size: Number of parts.
    """
    return _with_batches(loader, BatchShares(_batches(loader), targets, rank, world_size))


def evaluation_share(loader: Any, rank: int, world_size: int) -> Any:
    """Consecutive whole batches of the loader: every process's, in order, are all batches once.

    Whole, because then the arithmetic is that of one process, to the last bit.
    """
    if isinstance(loader, NegSampleEvalDataLoader):
        return _DrawnBatches(loader, rank, world_size)
    batches = list(_batches(loader))
    return _with_batches(loader, batches[_part(len(batches), rank, world_size)])


def _part(n: int, rank: int, world_size: int) -> slice:
    return slice(n * rank // world_size, n * (rank + 1) // world_size)


class _Part:
    """Mixin for loaders: none at all is something else than one without batches for us."""

    def __bool__(self) -> bool:
        return True


class _DrawnBatches(_Part):
    """A share of batches with sampled negatives: all are drawn, by chance, and some handed out.

    Which negatives a batch gets depends on the draws before it.
    """

    def __init__(self, loader: Any, rank: int, world_size: int) -> None:
        self._loader = loader
        self._dataset = loader._dataset  # where RecBole looks for it
        self._own = _part(len(loader), rank, world_size)

    def __iter__(self) -> Iterator[Any]:
        for number, batch in enumerate(self._loader):
            if self._own.start <= number < self._own.stop:
                yield batch

    def __len__(self) -> int:
        return self._own.stop - self._own.start


def _batches(loader: DataLoader) -> Iterable[list[int]]:
    return _sampler_name(loader)[1]


def _sampler_name(loader: DataLoader) -> tuple[str, Any]:
    """Which of its two samplers hands out whole batches, and that sampler."""
    if loader.batch_sampler is None:
        return "sampler", loader.sampler
    return "batch_sampler", loader.batch_sampler


def _with_batches(loader: DataLoader, batches: Any) -> DataLoader:
    kind = type(type(loader).__name__, (_Part, type(loader)), {})
    part: Any = object.__new__(kind)
    vars(part).update(vars(loader))
    # Past DataLoader's guard against other batches while it is in use: this one is not yet.
    vars(part)[_sampler_name(loader)[0]] = batches
    collate = getattr(type(loader), "collate_fn", None)
    if collate is not None:  # RecBole's is a method that asks its loader for settings
        vars(part)["collate_fn"] = types.MethodType(collate, part)
    return part
