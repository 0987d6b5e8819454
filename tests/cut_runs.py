"""Ending a training before its end, and seeing that the one that goes on ends alike."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch

from recbole_compress.trainers.checkpoint import load_checkpoint
from recbole_compress.trainers.safe_trainer import SafeTrainer

_KILL = """
import os, signal, sys
from recbole_compress.config.model_names import find_model
model = find_model({model!r})
loss, calls = model.calculate_loss, [0]
def calculate_loss(self, interaction):
    calls[0] += 1
    if calls[0] == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(self, interaction)
model.calculate_loss = calculate_loss
{then}
"""


class _Cut(Exception):
    pass


@contextlib.contextmanager
def cut_at(epoch: int, where: Callable[[Any], bool] = lambda trainer: True) -> Iterator[list[str]]:
    """Training ends as this epoch begins, in a trainer for which ``where`` holds.

    Yields:
        A list; after the block, the checkpoint that is left is in it.
    """
    train_epoch, left = SafeTrainer._train_epoch, []

    def cut(self, train_data, number, *args, **kwargs):
        if number == epoch and where(self):
            left.append(self.saved_model_file)
            raise _Cut
        return train_epoch(self, train_data, number, *args, **kwargs)

    with mock.patch.object(SafeTrainer, "_train_epoch", cut), contextlib.suppress(_Cut):
        yield left
    assert left, f"epoch {epoch} was never begun"


def killing(model: str, step: int, then: str) -> str:
    """A script that does what ``then`` says, and kills itself in that step of the training."""
    return _KILL.format(model=model, step=step, then=then)


def assert_same_weights(path: str, other: str) -> None:
    """Bit for bit, and none more in either of the two checkpoints."""
    ours, theirs = (dict(load_checkpoint(each)["state_dict"]) for each in (path, other))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=0)
