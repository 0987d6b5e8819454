"""From checkpoint to the file that ships: bytes and accuracy at every step.

    python -m benchmarks.shipping retailrocket/tied=saved/A.pth retailrocket/student=saved/B.pth
    python -m benchmarks.shipping --bits 8 4 --recipes ptq self_sample --exclude_history NAME=FILE

Every checkpoint is evaluated in torch, exported as it is, then quantized (all tables and weights at
the same bits, activations as they are) and exported; every file is evaluated by ONNX Runtime with
RecBole's splits and evaluators. Files have no item tokens, whose size is told apart. Names are
``DATASET/ENTRY``. Rows that ``docs/results/shipping.json`` holds are not measured again.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.fresh_process import ROOT
from benchmarks.results_file import common_parser, key_values, measure_all, named_checkpoints
from recbole_compress.quick_start.evaluate import evaluate_file
from recbole_compress.quick_start.export import export_checkpoint
from recbole_compress.quick_start.quantize import quantize_checkpoint

METRICS = {"metrics": ["NDCG", "Hit"], "topk": [10]}
FULL = 32


def measure(
    name: str,
    format: str,
    bits: int,
    recipe: str | None,
    exclude_history: bool,
    quantization: dict[str, Any],
    seed: int,
    threads: int,
    checkpoints: dict[str, str],
    data_path: str,
) -> dict[str, Any]:
    """One row: a checkpoint of a model, or a file made of it."""
    torch.set_num_threads(threads)
    path, seconds = checkpoints[name], 0.0
    settings = {"data_path": data_path, "exclude_history": exclude_history, "threads": threads}
    if bits != FULL:
        before = time.perf_counter()
        quantize_checkpoint(
            path,
            "quantized.pth",
            data_path=data_path,
            seed=seed,
            quantization_recipe=recipe,
            weight_bits=bits,
            table_bits=bits,
            activation_bits=FULL,
            **quantization,
        )
        path, seconds = "quantized.pth", time.perf_counter() - before
    result: dict[str, Any] = {"seconds": seconds}
    if format == "onnx":
        done = export_checkpoint(path, "model.onnx", tokens=False)
        with_tokens = export_checkpoint(path, "tokens.onnx", data_path=data_path)
        result |= {
            "deviation": done.deviation.largest,
            "same_items": done.deviation.same_items,
            "size_bytes": done.size_bytes,
            "size_bytes_of_tokens": with_tokens.size_bytes - done.size_bytes,
        }
        path = done.path
    card = evaluate_file(path, None, **settings, **METRICS)
    if format == "checkpoint":
        result["size_bytes"] = card["size_bytes"]["total"]
    for split in ("valid", "test"):
        found = card["metrics"][split]
        result |= {f"{split}_{metric}": found[metric] for metric in ("ndcg@10", "hit@10")}
    return {**result, "latency_ms": card["latency_ms"]["p50"]}


def main(arguments: list[str]) -> None:
    parser = common_parser("shipping", (__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", metavar="DATASET/ENTRY=FILE")
    parser.add_argument("--bits", nargs="+", type=int, default=[8, 4, 2])
    parser.add_argument("--recipes", nargs="+", default=["ptq"])
    parser.add_argument("--quantize", nargs="+", default=[], help="KEY=VALUE of the quantization")
    parser.add_argument("--exclude_history", action="store_true")
    parser.add_argument("--data_path", default=str(ROOT / "dataset"))
    options = parser.parse_args(arguments)
    checkpoints = named_checkpoints(options.checkpoints)
    entries = []
    for name in checkpoints:
        common = {"name": name, "exclude_history": options.exclude_history}
        for format in ("checkpoint", "onnx"):
            entries.append(
                {**common, "format": format, "bits": FULL, "recipe": None, "quantization": {}}
            )
        special = {"format": "onnx", "quantization": key_values(options.quantize)}
        for recipe in options.recipes:
            for bits in options.bits:
                entries.append({**common, "bits": bits, "recipe": recipe, **special})
    context = {
        "checkpoints": checkpoints,
        "data_path": str(Path(options.data_path).resolve()),
    }
    measure_all("benchmarks.shipping", entries, options, context)


if __name__ == "__main__":
    main(sys.argv[1:])
