"""Let RecBole report to a current ray.

``objective_function`` in ``recbole/quick_start/quick_start.py`` calls ``tune.report(**result)``;
since ray 2.7 the metrics are one dict, and reporting outside of a Tune session warns.
"""

import importlib
import inspect
import types
import warnings
from typing import Any

__all__ = ["adapt"]


def adapt() -> None:
    """Give RecBole's module a ``tune`` that takes its keywords; ray itself stays as it is."""
    module: Any = importlib.import_module("recbole.quick_start.quick_start")
    report = module.tune.report
    kinds = {parameter.kind for parameter in inspect.signature(report).parameters.values()}
    if inspect.Parameter.VAR_KEYWORD in kinds:  # ray 2.6.3, our stub, or adapted already
        return

    def report_keywords(**metrics: float) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, message=".report. is meant")
            report(metrics)

    module.tune = types.SimpleNamespace(report=report_keywords)
