"""Batches of a split: of examples of similar length, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

__all__ = ["SimilarLengthSampler", "split_of", "targets_per_example", "training_loader"]


class SimilarLengthSampler(Sampler[list[int]]):
    """Shuffled batches of examples of similar length, with about the same number of targets each.

    Every epoch: shuffle, take groups of ``group`` batches' worth of examples, sort each group by
    length, cut it into batches, shuffle the batches.

    Args:
        lengths: Inputs per example, ``(n,)``.
        targets: Targets per example, ``(n,)``.
        batch_targets: Targets per batch (at least one example).
        generator: Source of the shuffles; None keeps the order of lengths, shortest first.
        group: How many batches are sorted together; larger means less padding and less chance.

    Example:
        >>> lengths = torch.tensor([9, 1, 8, 1])
        >>> sampler = SimilarLengthSampler(lengths, torch.ones(4), batch_targets=2, generator=None)
        >>> list(sampler)
        [[1, 3], [2, 0]]
    """

    def __init__(
        self,
        lengths: Tensor,
        targets: Tensor,
        batch_targets: int,
        generator: torch.Generator | None,
        group: int = 64,
    ) -> None:
        self.lengths, self.targets = lengths, targets
        self.batch_targets = batch_targets
        self.generator = generator
        self.group = group
        self._plan: list[list[int]] | None = None

    def _next_epoch(self) -> list[list[int]]:
        if self.generator is None:
            return self._cut(torch.argsort(self.lengths, stable=True))
        order = torch.randperm(len(self.lengths), generator=self.generator)
        done = self.targets[order].cumsum(0) - self.targets[order]
        groups = (done // (self.group * self.batch_targets)).long()
        batches: list[list[int]] = []
        for members in torch.split(order, torch.bincount(groups).tolist()):
            by_length = torch.argsort(self.lengths[members], stable=True)
            batches += self._cut(members[by_length])
        return [batches[i] for i in torch.randperm(len(batches), generator=self.generator).tolist()]

    def _cut(self, order: Tensor) -> list[list[int]]:
        done = self.targets[order].cumsum(0) - self.targets[order]
        batch = torch.unique_consecutive((done // self.batch_targets).long(), return_counts=True)[1]
        return [part.tolist() for part in torch.split(order, batch.tolist())]

    def __iter__(self) -> Iterator[list[int]]:
        plan, self._plan = self._plan or self._next_epoch(), None
        return iter(plan)

    def __len__(self) -> int:
        # The number of batches depends on the shuffle, so the next epoch is planned and kept.
        if self._plan is None:
            self._plan = self._next_epoch()
        return len(self._plan)


def split_of(loader: Any) -> Any:
    """The split that a loader hands out the rows of; RecBole has no public name for it.

    Args:
        loader: Of RecBole or of this package.
    """
    return loader._dataset


def targets_per_example(loader: Any) -> Tensor | None:
    """Targets of every training example, ``(n,)``; None for one each, as in RecBole's data sets."""
    split = split_of(loader)
    return split.example_targets() if hasattr(split, "example_targets") else None


def training_loader(train_data, config, generator: torch.Generator) -> DataLoader:
    """The same examples as RecBole's ``train_data``, in batches of similar length.

    ``train_batch_size`` counts targets, as RecBole's does: one of its rows is one target.
    """
    dataset = split_of(train_data)
    sampler = SimilarLengthSampler(
        dataset.example_lengths(),
        dataset.example_targets(),
        batch_targets=config["train_batch_size"],
        generator=generator if config["shuffle"] else None,
    )
    # batch_size=None: the sampler hands out whole batches, and the dataset cuts them.
    loader = DataLoader(
        dataset, batch_size=None, sampler=sampler, collate_fn=_as_is, generator=generator
    )
    loader._dataset = dataset  # RecBole's name for it
    return loader


def _as_is(batch):
    return batch
