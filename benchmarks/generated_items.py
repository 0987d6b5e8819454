"""Do made-up sequences hold the items of real ones, and as often? PRecQ's Figure 5.

    python -m benchmarks.generated_items ml-100k/SASRec=saved/A.pth ml-100k/GRU4Rec=saved/B.pth

Sequences are sampled from a full-precision checkpoint, made in the paper's two ways and at random,
and by the generators of the paper's game, played from both starts; the train split of its data set
is opened to compare. Besides ``docs/results/generated_items.json`` every checkpoint gets a plot,
``docs/results/generated_items_<dataset>_<entry>.png``. Rows that the file holds are not measured
again.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import parameters_to_vector

from benchmarks.fresh_process import ROOT
from benchmarks.precq_paper import RANKING_WEIGHTS
from benchmarks.quantization import recipe_settings
from benchmarks.results_file import common_parser, key_values, measure_all, named_checkpoints
from recbole_compress.models.item_order import sort_item_blocks_
from recbole_compress.quick_start.from_checkpoint import model_alone
from recbole_compress.quick_start.quantize import quantize_checkpoint
from recbole_compress.quick_start.synthetic import compare_with_real_data
from recbole_compress.trainers.checkpoint import load_checkpoint

__all__ = ["games_of", "measure", "plot_name"]

# A game whose generator learns so many times as fast shows which way it goes.
FASTER = 100


def plot_name(name: str) -> str:
    """The plot of a checkpoint, beside the JSON file.

    Example:
        >>> plot_name("ml-100k/SASRec")
        'generated_items_ml-100k_SASRec.png'
    """
    return f"generated_items_{name.replace('/', '_')}.png"


def measure(
    name: str,
    seed: int,
    threads: int,
    checkpoints: dict[str, str],
    data_path: str,
    plots: str,
    quantize: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One row: a checkpoint, and what every way of making sequences from it comes to.

    ``quantize`` are settings of all games, see :func:`games_of`; what each of their generators has
    become is one way more.
    """
    from recbole_compress.quick_start.synthetic_plot import draw  # needs matplotlib

    torch.set_num_threads(threads)
    logging.disable(logging.INFO)
    path = checkpoints[name]
    model = load_checkpoint(path)["config"]["model"]
    generators, played = {}, {}
    for game, settings in games_of(model, quantize or {}).items():
        done = quantize_checkpoint(path, os.path.abspath(f"{game}.pth"), seed=seed, **settings)
        assert done.generator is not None  # the recipe has one
        generators[game] = done.generator
        played[game] = {**done.work, "moved": _moved(done.generator, path)}
    began = time.perf_counter()
    found = compare_with_real_data(path, None, generators, data_path=data_path, seed=seed)
    seconds = time.perf_counter() - began
    draw(found, str(Path(plots) / plot_name(name)))
    ways = {
        source["name"]: {key: source[key] for key in ("spearman", "coverage", "head", "overlap")}
        for source in found["sources"]
    }
    return {
        "sequences": found["sequences"],
        "seconds": seconds,
        "real_head": found["real_head"],
        "ways": ways,
        "played": played,
    }


@torch.no_grad()
def _moved(generator: Any, path: str) -> float:
    """How far its weights are from the checkpoint's, beside how large those are."""
    begun = model_alone(path).model
    sort_item_blocks_(begun)  # as they were when the game began
    before = parameters_to_vector(begun.parameters())
    now = parameters_to_vector(generator.model.parameters()).cpu()
    return float((now - before).norm() / before.norm())


def games_of(model: str, over: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The paper's settings at 4 bits, from both starts, and what differs from them.

    Example:
        >>> sorted(games_of("SASRec", {}))
        ['game', 'game, 100x rate', 'game, random start']
        >>> games_of("SASRec", {})["game"]["df_ranking_weight"]
        0.25
    """
    paper = {**recipe_settings("precq_paper"), "weight_bits": 4, "table_bits": 4}
    paper["df_ranking_weight"] = RANKING_WEIGHTS.get(model, paper["df_ranking_weight"])
    paper |= over
    fast = FASTER * paper["df_generator_learning_rate"]
    return {
        "game": {**paper, "df_start": "teacher"},
        "game, random start": {**paper, "df_start": "random"},
        f"game, {FASTER}x rate": {
            **paper,
            "df_start": "random",
            "df_generator_learning_rate": fast,
        },
    }


def main(arguments: list[str]) -> None:
    parser = common_parser("generated_items", (__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", metavar="DATASET/ENTRY=FILE")
    parser.add_argument("--data_path", default=str(ROOT / "dataset"))
    parser.add_argument("--quantize", nargs="+", default=[], help="KEY=VALUE of all games")
    options = parser.parse_args(arguments)
    checkpoints = named_checkpoints(options.checkpoints)
    context = {
        "checkpoints": checkpoints,
        "data_path": str(Path(options.data_path).resolve()),
        "plots": str(Path(options.output).resolve().parent),
    }
    over = key_values(options.quantize)
    given = {"quantize": over} if over else {}
    entries = [{"name": name, **given} for name in checkpoints]
    measure_all("benchmarks.generated_items", entries, options, context)


if __name__ == "__main__":
    main(sys.argv[1:])
