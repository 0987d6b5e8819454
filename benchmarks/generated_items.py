"""Do made-up sequences hold the items of real ones, and as often? PRecQ's Figure 5.

    python -m benchmarks.generated_items ml-100k/SASRec=saved/A.pth ml-100k/GRU4Rec=saved/B.pth

Sequences are sampled from a full-precision checkpoint, made in the paper's two ways and at random;
the train split of its data set is opened to compare. Besides ``docs/results/generated_items.json``
every checkpoint gets a plot, ``docs/results/generated_items_<dataset>_<entry>.png``. Rows that the
file holds are not measured again.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.fresh_process import ROOT
from benchmarks.results_file import common_parser, measure_all, named_checkpoints
from recbole_compress.quick_start.synthetic import compare_with_real_data

__all__ = ["measure", "plot_name"]


def plot_name(name: str) -> str:
    """The plot of a checkpoint, beside the JSON file.

    Example:
        >>> plot_name("ml-100k/SASRec")
        'generated_items_ml-100k_SASRec.png'
    """
    return f"generated_items_{name.replace('/', '_')}.png"


def measure(
    name: str, seed: int, threads: int, checkpoints: dict[str, str], data_path: str, plots: str
) -> dict[str, Any]:
    """One row: a checkpoint, and what every way of making sequences from it comes to."""
    from recbole_compress.quick_start.synthetic_plot import draw  # needs matplotlib

    torch.set_num_threads(threads)
    began = time.perf_counter()
    found = compare_with_real_data(checkpoints[name], data_path=data_path, seed=seed)
    seconds = time.perf_counter() - began
    draw(found, str(Path(plots) / plot_name(name)))
    ways = {
        source["name"]: {key: source[key] for key in ("spearman", "coverage")}
        for source in found["sources"]
    }
    return {"sequences": found["sequences"], "seconds": seconds, "ways": ways}


def main(arguments: list[str]) -> None:
    parser = common_parser("generated_items", (__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", metavar="DATASET/ENTRY=FILE")
    parser.add_argument("--data_path", default=str(ROOT / "dataset"))
    options = parser.parse_args(arguments)
    checkpoints = named_checkpoints(options.checkpoints)
    context = {
        "checkpoints": checkpoints,
        "data_path": str(Path(options.data_path).resolve()),
        "plots": str(Path(options.output).resolve().parent),
    }
    measure_all(
        "benchmarks.generated_items", [{"name": name} for name in checkpoints], options, context
    )


if __name__ == "__main__":
    main(sys.argv[1:])
