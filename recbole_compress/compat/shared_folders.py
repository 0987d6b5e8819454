"""Let several runs start in one folder at once.

``ensure_dir`` in ``recbole/utils/utils.py`` looks whether a folder exists and then makes it, so of
two processes that begin together and share ``log/`` one may die of a ``FileExistsError``.
"""

import importlib
import os
import sys

__all__ = ["ensure_dir", "share"]


def ensure_dir(dir_path: str) -> None:
    """Make the folder unless somebody has, in RecBole's own name and signature."""
    os.makedirs(dir_path, exist_ok=True)


def share() -> None:
    """Replace the function in every module of RecBole that has imported it."""
    original = importlib.import_module("recbole.utils.utils").ensure_dir
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "recbole" and vars(module).get("ensure_dir") is original:
            module.ensure_dir = ensure_dir  # type: ignore[attr-defined]
