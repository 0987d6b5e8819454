"""Whole runs: what the commands do, as functions.

``run_recbole_compress`` is fetched when it is asked for: some commands do without torch.
"""

from typing import Any

__all__ = ["run_recbole_compress"]


def __getattr__(name: str) -> Any:
    if name == "run_recbole_compress":
        from recbole_compress.quick_start.quick_start import run_recbole_compress

        return run_recbole_compress
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
