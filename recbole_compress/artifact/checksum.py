"""A file's own checksum, inside it."""

from __future__ import annotations

import hashlib
import mmap
import os

from recbole_compress.errors import ArtifactError

__all__ = ["CHECKSUM_KEY", "EMPTY", "check", "seal"]

CHECKSUM_KEY = "recbole_compress.sha256"
EMPTY = "0" * 64  # stands where the checksum will, while it is computed
# How protocol buffers write this entry: the key, then tag and length of a value of 64 bytes.
_BEFORE = CHECKSUM_KEY.encode() + b"\x12\x40"
_AT_ONCE = 1 << 24


def _digest(content: mmap.mmap, place: int) -> str:
    found = hashlib.sha256()
    view = memoryview(content)
    try:
        for start in range(0, place, _AT_ONCE):
            found.update(view[start : min(start + _AT_ONCE, place)])
        found.update(EMPTY.encode())
        for start in range(place + 64, len(view), _AT_ONCE):
            found.update(view[start : start + _AT_ONCE])
    finally:
        view.release()
    return found.hexdigest()


def seal(path: str) -> str:
    """Write the checksum of a file to where :data:`EMPTY` stands in it; returns it."""
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        place = content.rfind(_BEFORE) + len(_BEFORE)
        digest = _digest(content, place)
        content[place : place + 64] = digest.encode()
        content.flush()
    return digest


def check(path: str) -> None:
    """Whether a file is, to the last bit, what was written.

    Raises:
        ArtifactError: It is not, it is no file of ours, or there is none.
    """
    if not os.path.isfile(path):
        raise ArtifactError(f"{path}: there is no such file")
    if os.path.getsize(path) == 0:
        raise ArtifactError(f"{path}: damaged, the file is empty")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = content.rfind(_BEFORE)
        if place < 0:
            raise ArtifactError(
                f"{path}: damaged, or not a file of `recbole-compress export`: it has no checksum"
            )
        place += len(_BEFORE)
        if content[place : place + 64] != _digest(content, place).encode():
            raise ArtifactError(f"{path}: damaged, its checksum is wrong; export or copy it again")
