"""Let several runs start in one folder at once.

``ensure_dir`` in ``recbole/utils/utils.py`` looks whether a folder exists and then makes it, so of
two processes that begin together and share ``log/`` one may die of a ``FileExistsError``.
"""

import importlib
import os
import sys

from recbole_compress.errors import ConfigError

__all__ = ["ensure_dir", "share"]


def ensure_dir(dir_path: str) -> None:
    """Make the folder unless somebody has, in RecBole's own name and signature.

    Raises:
        ConfigError: It cannot be made.
    """
    try:
        os.makedirs(dir_path, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{dir_path}: this folder cannot be made ({error.strerror}); choose another "
            "--checkpoint_dir, and start where log/ can be written"
        ) from error


def share() -> None:
    """Replace the function in every module of RecBole that has imported it."""
    original = importlib.import_module("recbole.utils.utils").ensure_dir
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "recbole" and vars(module).get("ensure_dir") is original:
            module.ensure_dir = ensure_dir  # type: ignore[attr-defined]
