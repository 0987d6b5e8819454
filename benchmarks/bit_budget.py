"""Bits chosen tensor by tensor beside the same bits for all, in files of the same size.

    python -m benchmarks.bit_budget NAME=saved/NAME.pth --bits 5 4 3 2 --recipes ptq self_sample

A model is quantized with as many bits for every tensor, then with ``quantization_max_bytes`` at
what that file weighs, and both are ranked on the test split. Rows that
``docs/results/bit_budget.json`` holds are not measured again.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.fresh_process import ROOT
from benchmarks.results_file import common_parser, measure_all, named_checkpoints
from recbole_compress.quick_start.evaluate import evaluate_file
from recbole_compress.quick_start.quantize import quantize_checkpoint

__all__ = ["measure"]

METRIC = "ndcg@10"
ASKED = {"metrics": ["NDCG"], "topk": [10], "valid_metric": "NDCG@10"}


def measure(
    model: str,
    recipe: str,
    bits: int,
    seed: int,
    threads: int,
    checkpoints: dict[str, str],
    data_path: str,
) -> dict[str, Any]:
    """One row: full precision, so many bits for all, and bits by bytes."""
    torch.set_num_threads(threads)
    logging.disable(logging.INFO)
    path = checkpoints[model]
    shared = {
        "seed": seed,
        "quantization_recipe": recipe,
        "quantization_scale_dtype": "float16",
        "activation_bits": 8,
    }
    uniform = quantize_checkpoint(path, "same.pth", weight_bits=bits, table_bits=bits, **shared)
    size = os.path.getsize(uniform.path)
    chosen = quantize_checkpoint(path, "chosen.pth", quantization_max_bytes=size, **shared)
    found = {row.name: row.bits for row in chosen.report.rows if row.bits < 32}
    return {
        "full": _accuracy(path, data_path),
        "same": {**_accuracy(uniform.path, data_path), "seconds": uniform.work["seconds"]},
        "chosen": {
            **_accuracy(chosen.path, data_path),
            "seconds": chosen.work["seconds"],
            "bits": found,
        },
    }


def _accuracy(path: str, data_path: str) -> dict[str, Any]:
    card = evaluate_file(path, "evaluation.card.json", data_path=data_path, **ASKED)
    metrics = {split: card["metrics"][split][METRIC] for split in ("valid", "test")}
    return {**metrics, "file_bytes": os.path.getsize(path)}


def main(arguments: list[str]) -> None:
    parser = common_parser("bit_budget", (__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--bits", nargs="+", type=int, default=[5, 4, 3, 2])
    parser.add_argument("--recipes", nargs="+", default=["ptq"])
    parser.add_argument("--data_path", default=str(ROOT / "dataset"))
    options = parser.parse_args(arguments)
    checkpoints = named_checkpoints(options.checkpoints)
    context = {"checkpoints": checkpoints, "data_path": str(Path(options.data_path).resolve())}
    entries = [
        {"model": model, "recipe": recipe, "bits": bits}
        for model in checkpoints
        for recipe in options.recipes
        for bits in options.bits
    ]
    measure_all("benchmarks.bit_budget", entries, options, context)


if __name__ == "__main__":
    main(sys.argv[1:])
