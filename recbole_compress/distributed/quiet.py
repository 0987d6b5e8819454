"""Only the first process of a run writes logs."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

import recbole.trainer.trainer

from recbole_compress.distributed.place import here

__all__ = ["quiet_logger", "without_tensorboard"]


def quiet_logger() -> logging.Logger:
    """The root logger, saying nothing; warnings are not shown either."""
    warnings.simplefilter("ignore")
    logger = logging.getLogger()
    logger.handlers[:] = [logging.NullHandler()]
    logger.setLevel(logging.CRITICAL)
    return logger


class _NoWriter:
    """As much of tensorboard's writer as RecBole's trainers call."""

    def add_scalar(self, *args, **kwargs) -> None: ...

    def add_hparams(self, *args, **kwargs) -> None: ...


@contextlib.contextmanager
def without_tensorboard() -> Iterator[None]:
    """In the first process nothing changes; in others RecBole's trainers get no event file.

    They open it in their constructor, which leaves no other place to say so.
    """
    if here().is_first:
        yield
        return
    opens = recbole.trainer.trainer.get_tensorboard
    recbole.trainer.trainer.get_tensorboard = lambda logger: _NoWriter()
    try:
        yield
    finally:
        recbole.trainer.trainer.get_tensorboard = opens
