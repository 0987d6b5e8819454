"""Latency measured in turns: one process per data set, after all runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recbole_compress.comparison.finished import Finished
from recbole_compress.comparison.run_files import safe_name
from recbole_compress.comparison.runs import child_environment
from recbole_compress.comparison.settings import CheckedRun
from recbole_compress.config.model_names import quantized_of
from recbole_compress.files import replacing

__all__ = ["measure_in_turns", "measured_in_turns"]

MODULE = "recbole_compress.quick_start.latency_in_turns"


def first_checkpoints(runs: Sequence[CheckedRun], folder: Path, dataset: str) -> dict[str, str]:
    """Checkpoint of every entry's first finished seed on one data set."""
    finished = Finished(runs, folder)
    found: dict[str, str] = {}
    for run in runs:
        if run.planned.dataset != dataset or run.planned.entry in found:
            continue
        if path := finished.checkpoint(run.planned.key):
            found[run.planned.entry] = str(path)
    return found


def measure_in_turns(
    runs: Sequence[CheckedRun], folder: Path, report: Callable[[str], None] = print
) -> dict[str, str]:
    """Measure every data set whose checkpoints have not been measured together yet.

    Returns:
        One line per data set where it failed.
    """
    failures = {}
    for dataset in dict.fromkeys(run.planned.dataset for run in runs):
        checkpoints = first_checkpoints(runs, folder, dataset)
        if not checkpoints or set(measured_in_turns(runs, folder, dataset)) == set(checkpoints):
            continue
        result = _result_file(folder, dataset)
        job, log = result.with_suffix(".job.json"), result.with_suffix(".log")
        asked = {"checkpoints": checkpoints, "model_classes": _classes_of_the_user(runs)}
        with replacing(str(job)) as file:
            file.write(json.dumps(asked, indent=1) + "\n")
        with open(log, "wb") as output:
            status = subprocess.run(
                [sys.executable, "-m", MODULE, str(job), str(result)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=child_environment(),
                check=False,
            ).returncode
        if status:
            failures[dataset] = f"latency on {dataset} failed with status {status}; log: {log}"
        report(failures.get(dataset, f"latency on {dataset}: {len(checkpoints)} models in turns"))
    return failures


def measured_in_turns(runs: Sequence[CheckedRun], folder: Path, dataset: str) -> dict[str, Any]:
    """What was measured of those entries whose checkpoint is still the same; empty if nothing."""
    try:
        document = json.loads(_result_file(folder, dataset).read_text(encoding="utf-8"))
        entries = document["entries"].items()
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    current = {
        entry: os.path.basename(path)
        for entry, path in first_checkpoints(runs, folder, dataset).items()
    }
    return {
        entry: measured
        for entry, measured in entries
        if measured["checkpoint"] == current.get(entry)
    }


def _classes_of_the_user(runs: Sequence[CheckedRun]) -> list[str]:
    """As ``MODULE:CLASS``; checkpoints hold the class's name alone."""
    models = {run.settings["model"] for run in runs}
    return sorted({quantized_of(model) or model for model in models if ":" in model})


def _result_file(folder: Path, dataset: str) -> Path:
    return folder / "runs" / safe_name(dataset) / "latency.json"
