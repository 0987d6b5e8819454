"""Runs of one comparison may come from several machines."""

from __future__ import annotations

import json

from recbole_compress.quick_start.command_line import main
from tests.comparison.experiments import document_in, write_experiment


def rewritten(path, **groups):
    """A card with other values in some of its groups."""
    card = json.loads(path.read_text())
    for group, values in groups.items():
        card[group] = {**card[group], **values}
    path.write_text(json.dumps(card))


def cost_table(folder):
    page = (folder / "runs/compare/exp/comparison.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith("|")]
    header = next(line for line in lines if "peak memory" in line)
    (row,) = [line for line in lines[lines.index(header) :] if line.startswith("| gru |")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (header, row)]
    return dict(zip(*cells, strict=True)), page


def test_times_are_those_of_one_machine_and_all_machines_are_named(folder, started):
    main(["compare", write_experiment(folder), "--only=gru"])
    costs, page = cost_table(folder)
    assert "on the GPU" not in costs and "p50 ms" in costs and "*p50*" in page
    nothing = {"p50": None, "p95": None}
    own = folder / "runs/compare/exp/runs/tiny"
    first = {"seconds": 8.0, "seconds_per_epoch": 4.0, "peak_gpu_bytes": 2_000_000_000}
    on_gpu = {"gpu": "Some GPU", "torch": "2.11.0+cu130"}
    rewritten(own / "gru-1.card.json", training=first, environment=on_gpu, latency_ms=nothing)
    rewritten(own / "gru-2.card.json", training={"seconds": 100.0}, latency_ms=nothing)
    main(["compare", write_experiment(folder), "--only=gru", "--table"])
    costs, page = cost_table(folder)
    assert costs["training s"] == "8" and costs["s/epoch"] == "4"
    assert costs["on the GPU"] == "2 GB"
    assert "p50 ms" not in costs and "*p50*" not in page
    made = page.replace("\n", " ").split("Made with ")[1]
    assert "1 run: torch 2.11.0+cu130" in made and "on Some GPU" in made
    assert made.count("torch") == 2
    entry = document_in(folder)["datasets"]["tiny"]["entries"]["gru"]
    assert entry["seeds"] == [1, 2] and entry["training"]["seconds"]["mean"] == 8.0
