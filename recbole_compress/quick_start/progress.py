"""What a command that is no run says while it works: RecBole's log, on standard error alone."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

from recbole.utils.logger import RemoveColorFilter

__all__ = ["progress_on_standard_error"]


@contextlib.contextmanager
def progress_on_standard_error() -> Iterator[None]:
    """Within it what RecBole's logger is told is printed; it writes no file and stays as it was."""
    logger = logging.getLogger()  # RecBole's is the root; other libraries have loggers of their own
    handler, level = logging.StreamHandler(), logger.level
    handler.addFilter(lambda record: record.name == logger.name)
    if not sys.stderr.isatty():
        handler.addFilter(RemoveColorFilter())
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
