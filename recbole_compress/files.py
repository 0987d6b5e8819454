"""Writing files whole or not at all, one at a time, and not over what they are made of."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from typing import IO

from recbole_compress.errors import ConfigError

__all__ = ["check_writable", "keep_input", "locked", "replacing"]


def keep_input(path: str, out: str) -> None:
    """Refuse to write what is made of a file over the file itself.

    Args:
        path: What is read.
        out: What is to be written, there already or not.

    Raises:
        ConfigError: They are one file, by whatever names.

    Example:
        >>> keep_input("a.pth", "a.onnx")
        >>> keep_input(__file__, os.path.join(os.path.dirname(__file__), ".", "files.py"))
        ... # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        recbole_compress.errors.ConfigError: ...files.py: is the file that is read, ...
    """
    if os.path.exists(out) and os.path.exists(path) and os.path.samefile(out, path):
        raise ConfigError(f"{out}: is the file that is read, and would be lost; choose another -o")


def check_writable(path: str, key: str | None = None) -> None:
    """Refuse a place for a file where none can be, before the work that would be lost there.

    Args:
        path: The file, there already or not.
        key: What the user calls it; None for ``-o``.

    Raises:
        ConfigError: It is a folder, or the folders on its way cannot be made or written to.

    Example:
        >>> check_writable("new/folder/card.json", "card_path")
        >>> check_writable(".", "card_path")
        Traceback (most recent call last):
            ...
        recbole_compress.errors.ConfigError: card_path=.: is a folder; name a file
    """
    said = path if key is None else f"{key}={path}"
    if os.path.isdir(path):
        raise ConfigError(f"{said}: is a folder; name a file")
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise ConfigError(
            f"{said}: cannot be written, {folder} is no folder that one can write to; choose "
            "another place"
        )


@contextlib.contextmanager
def replacing(
    path: str, mode: str = "w", finish: Callable[[str], None] = lambda temporary: None
) -> Iterator[IO]:
    """Open a temporary file beside ``path`` that takes its place when the block ends well.

    On any error the temporary file goes, and what was at ``path`` before is still there. Folders on
    the way are made. The data is on the disk before the name changes.

    Args:
        path: The file to write or replace.
        mode: ``"w"`` for text (UTF-8) or ``"wb"`` for bytes.
        finish: What is still to be done with the temporary file, once it is closed.

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
        finish(temporary)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


@contextlib.contextmanager
def locked(path: str, refusal: str) -> Iterator[IO | None]:
    """Hold the lock on ``path``, which is made and stays; nobody else can until the block ends.

    Children that are given the open file hold it too, for as long as they live.

    Yields:
        The locked file; None on a system or disk without such locks.

    Raises:
        ConfigError: It is held by somebody else; says ``refusal``.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield None
        return
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(refusal) from None
        except OSError:  # some network disks
            yield None
            return
        yield file
