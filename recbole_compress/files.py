"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from typing import IO

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: str, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside ``path`` that takes its place when the block ends well.

    On any error the temporary file goes, and what was at ``path`` before is still there. Folders on
    the way are made. The data is on the disk before the name changes.

    Args:
        path: The file to write or replace.
        mode: ``"w"`` for text (UTF-8) or ``"wb"`` for bytes.

    Raises:
        OSError: What writing raised.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(os.path.join(folder, "a.txt")) as file:
        ...         _ = file.write("whole")
        ...     os.listdir(folder)
        ['a.txt']
    """
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    encoding = None if "b" in mode else "utf-8"
    try:
        with open(temporary, mode.replace("w", "x"), encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
