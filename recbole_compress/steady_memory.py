"""Memory that does not grow while tensors as large as an item table come and go.

glibc learns from the first such tensor that is freed to take the next ones from its heap, up to 32
MiB each. What is small and stays then keeps the holes between them from being joined, and a
training grows with every step. Above a fixed size the system gives and takes each tensor's memory
itself, in huge pages, so that handing them out costs little.
"""

from __future__ import annotations

import ctypes
import os

__all__ = ["LARGE", "hand_back", "keep_steady"]

LARGE = 16 * 2**20
_M_MMAP_THRESHOLD = -3  # malloc.h


def keep_steady() -> None:
    """Have tensors from 16 MiB on come from the system itself, in huge pages.

    Before torch is imported, which reads its variable once. Both variables are the user's to set:
    ``MALLOC_MMAP_THRESHOLD_`` and ``THP_MEM_ALLOC_ENABLE=0`` are left as they are. Does nothing
    where there is no glibc.
    """
    libc = _glibc()
    if libc is None:
        return
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        libc.mallopt(_M_MMAP_THRESHOLD, LARGE)


def hand_back() -> None:
    """Give memory that is free, but still the process's, to the system. Takes milliseconds.

    Does nothing where there is no glibc.
    """
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    return libc if libc is not None and hasattr(libc, "gnu_get_libc_version") else None
