"""CpRec beside its uncompressed counterparts, and the choices within CpRec beside each other.

    python -m benchmarks.main_job ml-100k
    python -m benchmarks.main_job amazon-beauty retailrocket --data_path=dataset

An experiment is data: ``benchmarks/settings/<experiment>.yaml`` holds the settings that all runs
share (the data set among them) and one entry per run. Every run is a process of its own, one at a
time. Its card goes to ``docs/results/main_job/<experiment>.json`` as soon as it is there, so an
interrupted benchmark goes on where it stopped; ``--again`` starts anew.
``python -m benchmarks.main_job --page`` writes ``docs/results/main_job.md`` from the JSON files.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks.provenance import provenance
from recbole_compress.files import replacing
from recbole_compress.reports.table import comparison_table

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ROOT / "benchmarks" / "settings"
RESULTS = ROOT / "docs" / "results" / "main_job"
PAGE = ROOT / "docs" / "results" / "main_job.md"


def run(name: str, data_path: str, again: bool = False, only: str | None = None) -> Path:
    """Run what is missing for one experiment, or one entry of it; returns the JSON file."""
    experiment = yaml.safe_load((SETTINGS / f"{name}.yaml").read_text())
    output = RESULTS / f"{name}.json"
    document: dict[str, Any] = {"settings": experiment["shared"], "runs": []}
    if output.exists() and not again:
        document = json.loads(output.read_text())
    for entry, seed in itertools.product(experiment["runs"], experiment["seeds"]):
        if only not in (None, entry):
            continue
        settings = {**experiment["shared"], **experiment["runs"][entry], "seed": seed}
        if any(r["name"] == entry and r["settings"] == settings for r in document["runs"]):
            continue
        card = _run_one(data_path, settings)
        document["runs"].append(
            {"name": entry, "settings": settings, "card": card, "provenance": provenance()}
        )
        with replacing(str(output)) as file:
            file.write(json.dumps(document, indent=1) + "\n")
    return output


def _run_one(data_path: str, settings: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        config_file, card = Path(folder, "settings.yaml"), Path(folder, "card.json")
        config_file.write_text(yaml.safe_dump(settings))
        subprocess.run(
            [
                sys.executable,
                str(ROOT / "run_recbole_compress.py"),
                f"--data_path={os.path.abspath(data_path)}",
                f"--config_files={config_file}",
                f"--card_path={card}",
                "--show_progress=False",
            ],
            cwd=folder,
            check=True,
        )
        return json.loads(card.read_text())


def _mean_card(cards: list[dict[str, Any]]) -> dict[str, Any]:
    """The first seed's card with metrics and times averaged over all seeds."""
    mean = copy.deepcopy(cards[0])
    for group, names in (("metrics", ("valid", "test")), (None, ("training",))):
        for name in names:
            target = mean[group][name] if group else mean[name]
            for key in target:
                values = [(card[group][name] if group else card[name])[key] for card in cards]
                target[key] = statistics.fmean(values)
    return mean


def write_page() -> Path:
    """Write the results page from all JSON files."""
    parts = [(RESULTS / "introduction.md").read_text().rstrip()]
    for file in sorted(RESULTS.glob("*.json")):
        document = json.loads(file.read_text())
        runs = document["runs"]
        made = runs[0]["provenance"]
        seeds = sorted({run["settings"]["seed"] for run in runs})
        by_name: dict[str, list] = {}
        for done in runs:
            by_name.setdefault(done["name"], []).append(done["card"])
        shared = ", ".join(f"`{k}={v}`" for k, v in sorted(document["settings"].items()))
        parts += [
            f"## {file.stem}",
            yaml.safe_load((SETTINGS / f"{file.stem}.yaml").read_text())["about"].strip(),
            comparison_table(map(_mean_card, by_name.values()), names=list(by_name)),
            f"Shared settings: {shared}.",
            f"Source: [`main_job/{file.name}`](main_job/{file.name}); mean "
            f"over seeds {seeds}, torch {made['torch']}, {made['threads']} threads, "
            f"{made['cpu']}, commit `{str(made['commit'])[:10]}`.",
        ]
    with replacing(str(PAGE)) as file:
        file.write("\n\n".join(parts) + "\n")
    return PAGE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", nargs="*")
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument("--again", action="store_true", help="run everything anew")
    parser.add_argument("--only", help="one entry of the experiment")
    parser.add_argument("--page", action="store_true", help="write the page only")
    arguments = parser.parse_args()
    for experiment in arguments.experiment:
        print(run(experiment, arguments.data_path, arguments.again, arguments.only))
    print(write_page())


if __name__ == "__main__":
    main()
