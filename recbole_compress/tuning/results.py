"""What a search leaves behind: RecBole's result file, and the best settings as a config file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import yaml
from recbole.trainer import HyperTuning

from recbole_compress.files import replacing
from recbole_compress.tuning.trials import FINISHED

__all__ = ["settings_text", "write_best_settings", "write_result_file"]


def write_result_file(path: str, records: Sequence[Mapping[str, Any]]) -> None:
    """RecBole's text file: settings, validation and test result of every finished trial."""
    results = {
        HyperTuning.params2str(record["settings"]): {
            "best_valid_result": record["valid"],
            "test_result": record["test"],
        }
        for record in records
        if record["status"] == FINISHED
    }
    with replacing(path) as file:
        HyperTuning.export_result(SimpleNamespace(params2result=results), file.name)


def write_best_settings(path: str, settings: Mapping[str, Any], comment: str) -> None:
    """A config file that repeats the best trial: ``--config_files=PATH``."""
    with replacing(path) as file:
        file.write(f"# {comment}\n")
        yaml.safe_dump(dict(settings), file, sort_keys=False, default_flow_style=None)


def settings_text(settings: Mapping[str, Any]) -> str:
    """As they would be typed.

    Example:
        >>> settings_text({"learning_rate": 0.001, "layer_sharing": "none"})
        '--learning_rate=0.001 --layer_sharing=none'
    """
    return " ".join(f"--{key}={value}" for key, value in settings.items())
