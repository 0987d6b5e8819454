"""A results file stands in for the run files that were left behind on another machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from recbole_compress.comparison.experiment import Planned
from recbole_compress.comparison.run_files import RunFiles
from recbole_compress.errors import DataError
from recbole_compress.files import replacing

__all__ = ["RESULTS", "restore_runs"]

# An experiment's results, in its folder.
RESULTS = "comparison.json"


def restore_runs(folder: Path) -> int:
    """Take up the runs that ``folder / "comparison.json"`` tells of and that have no files there.

    So an experiment can be continued, with further seeds say, from the results file alone. Such a
    run has its card, but neither ranks nor checkpoint: it counts in means and deviations, not in
    the tests per user.

    Returns:
        How many there were.

    Raises:
        DataError: A file that is no comparison.
    """
    path = folder / RESULTS
    if not path.exists():
        return 0
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        aside = document.get("set_aside", {}).get("runs", [])
        runs = [
            (Planned(run["dataset"], run["entry"], run["seed"], {}, {}, {}), run)
            for run in [*document["runs"], *aside]
        ]
        found = [(planned, run["settings"], run["card"]) for planned, run in runs]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: damaged or no comparison ({error}); delete it, or choose another --output"
        ) from error
    restored = 0
    for planned, settings, card in found:
        files = RunFiles.of(folder, planned)
        if files.settings.exists():
            continue
        files.stem.parent.mkdir(parents=True, exist_ok=True)
        with replacing(str(files.card)) as file:
            file.write(json.dumps(_located(card, folder), indent=1) + "\n")
        with replacing(str(files.settings)) as file:  # last: now it counts as finished
            yaml.safe_dump(settings, file, allow_unicode=True)
        restored += 1
    return restored


def _located(card: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A card with the paths that it would have had here."""
    files = card.get("files") or {}
    located = {name: path and os.path.join(folder, path) for name, path in files.items()}
    return {**card, "files": located}
