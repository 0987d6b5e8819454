"""Large tensors on large pages of memory.

A training step over a big item table makes and drops several tensors as large as that table. In
pages of 4 KiB the system spends more time handing out their memory than the step needs to fill it;
in huge pages of 2 MiB that is hardly anything (``docs/results/speed.md`` has the figures).
"""

from __future__ import annotations

import os

__all__ = ["prefer"]


def prefer() -> None:
    """Have torch ask Linux for huge pages for CPU tensors from 2 MiB on.

    torch reads the variable at its first allocation: later calls change nothing, and whoever sets
    it, for instance ``THP_MEM_ALLOC_ENABLE=0`` for as it was, decides. Elsewhere than on Linux, and
    where the system offers no huge pages, it does nothing.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
