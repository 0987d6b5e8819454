"""Whole runs: what the commands do, as functions.

Each is fetched when it is asked for: some commands do without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recbole_compress.quick_start.compare import compare_experiment
    from recbole_compress.quick_start.evaluate import evaluate_file
    from recbole_compress.quick_start.export import export_checkpoint
    from recbole_compress.quick_start.quantize import quantize_checkpoint
    from recbole_compress.quick_start.quick_start import run_recbole_compress
    from recbole_compress.quick_start.synthetic import compare_with_real_data

__all__ = [
    "compare_experiment",
    "compare_with_real_data",
    "evaluate_file",
    "export_checkpoint",
    "quantize_checkpoint",
    "run_recbole_compress",
]

_FILES = {
    "compare_experiment": "compare",
    "compare_with_real_data": "synthetic",
    "evaluate_file": "evaluate",
    "export_checkpoint": "export",
    "quantize_checkpoint": "quantize",
    "run_recbole_compress": "quick_start",
}

if not TYPE_CHECKING:  # to a type checker it would say that there is every name

    def __getattr__(name: str) -> Any:
        if name in _FILES:
            return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
