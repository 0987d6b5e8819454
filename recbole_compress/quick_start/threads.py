"""``--threads`` of a command, for as long as it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from recbole_compress.config.given import with_config_files

__all__ = ["given_threads"]


@contextlib.contextmanager
def given_threads(config: Any, given: Mapping[str, Any]) -> Iterator[None]:
    """Within, as many threads as were asked for; those of before come back.

    Args:
        config: Has ``threads``, checked.
        given: What the command was given. Without ``threads`` in it nothing changes: a checkpoint's
            own number was meant for its training.
    """
    before = torch.get_num_threads()
    if "threads" in with_config_files(given) and config["threads"]:
        torch.set_num_threads(config["threads"])
    try:
        yield
    finally:
        torch.set_num_threads(before)
