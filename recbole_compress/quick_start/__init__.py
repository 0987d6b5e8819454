"""Whole runs: what the commands do, as functions.

Each is fetched when it is asked for: some commands do without torch.

The commands:

- ``command_line``: which there are; ``threads``: with how many they run, ``progress``: what they
  say meanwhile.
- ``quick_start``: one run; ``data_free``: of a model that is then quantized.
- ``quantize``: a checkpoint in few bits; ``synthetic``, ``synthetic_plot``: what its sequences are.
- ``export``: a checkpoint as one file.
- ``evaluate``: a finished model on its data set; ``artifact_subject``: an exported file as one.
- ``tune``: a search; ``search_space``: what it varies, ``trial``: one run of it.
- ``compare``: an experiment; ``latency_in_turns``: its models timed.
- ``domains``: two data sets for a transfer.

The parts of a run:

- ``host_models``: RecBole's own models behind the same data access, checkpoints and report.
- ``prepared_data``: a data set, split into loaders.
- ``first_phase``: a model trained first; ``teacher``, ``stock_teacher``, ``pretraining``: of the
  recipes that have one.
- ``from_checkpoint``: a model from its checkpoint alone; ``restored``: a finished run;
  ``resumption``: one that goes on.
- ``final_results``: what is measured in the end; ``run_card``, ``sample_requests``: its card.

What is said before it costs anything:

- ``checks``: what a run refuses; ``validated``: whether it will have a validation score.
- ``unread_settings``, ``unread_in_search``: settings that nothing reads.
- ``quantization_keys``, ``portable_settings``: which belong to quantized models, which to files.
- ``warnings_of_recbole``: those that are for nobody here.
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
