"""CpRec beside its uncompressed counterparts on one data set.

    python -m benchmarks.main_job ml-100k
    python -m benchmarks.main_job amazon-beauty --data_path=dataset

An experiment is data: ``benchmarks/settings/<data set>.yaml`` holds the settings that all runs
share and one entry per run. Every run is a process of its own, one at a time. Its card goes to
``docs/results/main_job/<data set>.json`` as soon as it is there, so an interrupted benchmark goes
on where it stopped; ``--again`` starts anew. ``python -m benchmarks.main_job --page`` writes
``docs/results/main_job.md`` from the JSON files.
"""

from __future__ import annotations

import argparse
import json
import os
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
RESULTS = ROOT / "docs" / "results" / "main_job"
PAGE = ROOT / "docs" / "results" / "main_job.md"


def run(dataset: str, data_path: str, again: bool = False) -> Path:
    """Run what is missing for one data set; returns the JSON file."""
    experiment = yaml.safe_load((ROOT / "benchmarks" / "settings" / f"{dataset}.yaml").read_text())
    output = RESULTS / f"{dataset}.json"
    document: dict[str, Any] = {"dataset": dataset, "settings": experiment["shared"], "runs": []}
    if output.exists() and not again:
        document = json.loads(output.read_text())
    for name, settings in experiment["runs"].items():
        wanted = {**experiment["shared"], **(settings or {})}
        done = [r for r in document["runs"] if r["name"] == name and r["settings"] == wanted]
        if done:
            continue
        card = _run_one(dataset, data_path, wanted)
        document["runs"] = [r for r in document["runs"] if r["name"] != name]
        document["runs"].append(
            {"name": name, "settings": wanted, "card": card, "provenance": provenance()}
        )
        with replacing(str(output)) as file:
            file.write(json.dumps(document, indent=1) + "\n")
    return output


def _run_one(dataset: str, data_path: str, settings: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        config_file, card = Path(folder, "settings.yaml"), Path(folder, "card.json")
        config_file.write_text(yaml.safe_dump(settings))
        subprocess.run(
            [
                sys.executable,
                str(ROOT / "run_recbole_compress.py"),
                f"--dataset={dataset}",
                f"--data_path={os.path.abspath(data_path)}",
                f"--config_files={config_file}",
                f"--card_path={card}",
                "--show_progress=False",
            ],
            cwd=folder,
            check=True,
        )
        return json.loads(card.read_text())


def write_page() -> Path:
    """Write the results page from all JSON files."""
    parts = [(RESULTS / "introduction.md").read_text().rstrip()]
    for file in sorted(RESULTS.glob("*.json")):
        document = json.loads(file.read_text())
        runs = document["runs"]
        made = runs[0]["provenance"]
        shared = ", ".join(f"`{k}={v}`" for k, v in sorted(document["settings"].items()))
        parts += [
            f"## {document['dataset']}",
            comparison_table([run["card"] for run in runs]),
            f"Shared settings: {shared}.",
            f"Source: [`main_job/{file.name}`](main_job/{file.name}); seed "
            f"{runs[0]['card']['seed']}, torch {made['torch']}, {made['threads']} threads, "
            f"{made['cpu']}, commit `{str(made['commit'])[:10]}`.",
        ]
    with replacing(str(PAGE)) as file:
        file.write("\n\n".join(parts) + "\n")
    return PAGE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="*")
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument("--again", action="store_true", help="run everything anew")
    parser.add_argument("--page", action="store_true", help="write the page only")
    arguments = parser.parse_args()
    for dataset in arguments.dataset:
        print(run(dataset, arguments.data_path, arguments.again))
    print(write_page())


if __name__ == "__main__":
    main()
