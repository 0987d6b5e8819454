"""Let several runs start in one folder at once.

``ensure_dir`` in ``recbole/utils/utils.py`` looks whether a folder exists and then makes it, so of
two processes that begin together and share ``log/`` one may die of a ``FileExistsError``.
"""

import os
import sys

import recbole.utils.utils

__all__ = ["ensure_dir", "share"]

_original = recbole.utils.utils.ensure_dir


def ensure_dir(dir_path: str) -> None:
    """Make the folder unless somebody has, in RecBole's own name and signature."""
    os.makedirs(dir_path, exist_ok=True)


def share() -> None:
    """Replace the function in every module of RecBole that has imported it."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "recbole" and vars(module).get("ensure_dir") is _original:
            module.ensure_dir = ensure_dir  # type: ignore[attr-defined]
