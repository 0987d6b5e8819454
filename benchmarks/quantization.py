"""Recipes and bits beside each other: accuracy, agreement, bytes and seconds of quantized models.

    python -m benchmarks.quantization ml-100k SASRec GRU4Rec --recipes ptq self_sample --bits 8 4 2
    python -m benchmarks.quantization amazon-beauty SASRec --set train_time_limit=600

Each model is trained once and kept in ``runs/quantization/<dataset>/<model>.pth``; put a checkpoint
there to use it instead. Rows that ``docs/results/quantization.json`` holds are not measured again.
Where torch finds a GPU it is used: ``--jobs=16 --memory_limit=0`` lets 16 rows share it.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from benchmarks.fresh_process import ROOT
from benchmarks.results_file import common_parser, key_values, measure_all
from recbole_compress.config.properties_folder import recipe_yaml
from recbole_compress.data.loaders import split_of
from recbole_compress.quick_start.from_checkpoint import model_of, rebuilt_config
from recbole_compress.quick_start.host_models import dataset_class
from recbole_compress.quick_start.prepared_data import prepare_data
from recbole_compress.quick_start.quantize import quantize_checkpoint
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.trainers.checkpoint import load_checkpoint

K, NEGATIVES = 10, 100
TRAINING = {"metrics": ["NDCG", "Hit"], "topk": [K], "valid_metric": f"NDCG@{K}"}


def measure(
    dataset: str,
    model: str,
    recipe: str,
    bits: int,
    activation_bits: int,
    start: str,
    seed: int,
    threads: int,
    data_path: str,
    kept: str,
    training: dict[str, Any],
    quantize: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One row; ``recipe="none"`` is the full-precision model.

    ``quantize`` are settings over those of the recipe; they tell rows apart, ``training`` does not.
    """
    torch.set_num_threads(threads)
    logging.disable(logging.INFO)
    checkpoint = Path(kept) / dataset / f"{model}.pth"
    if not checkpoint.exists():
        settings = {**TRAINING, "data_path": data_path, "seed": seed, "threads": threads}
        began = time.perf_counter()
        result = run_recbole_compress(model, dataset, config_dict={**settings, **training})
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(result["checkpoint"], checkpoint)
        print(f"{model}: trained in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    state = load_checkpoint(str(checkpoint))
    config = rebuilt_config(state, str(checkpoint), data_path=data_path, **TRAINING)
    train, _, test = prepare_data(config, dataset_class(config)(config))
    full = model_of(config, split_of(train), state, str(checkpoint)).to(config["device"]).eval()
    if recipe == "none":
        size = sum(p.numel() * p.element_size() for p in full.parameters())
        return {**_accuracy(full, full, test), "size_bytes": size, "seconds": 0.0}
    out = os.path.abspath("quantized.pth")
    done = quantize_checkpoint(
        str(checkpoint),
        out,
        data_path=data_path,
        seed=seed,
        **{
            **recipe_settings(recipe),
            "weight_bits": bits,
            "table_bits": bits,
            "activation_bits": activation_bits,
            "df_start": start,
            **(quantize or {}),
        },
    )
    return {
        **_accuracy(done.model, full, test),
        "size_bytes": os.path.getsize(out),
        **done.work,
    }


def recipe_settings(recipe: str) -> dict[str, Any]:
    """Those of a preset in ``properties/recipe``, where one has that name."""
    preset = recipe_yaml(recipe)
    return {"quantization_recipe": recipe} if preset is None else yaml.safe_load(preset.read_text())


@torch.no_grad()
def _accuracy(model: Any, full: Any, test: Any) -> dict[str, float]:
    """Full ranking, the paper's 1 + 100 candidates, and the overlap of both models' best items."""
    chance = torch.Generator().manual_seed(0)
    ranks, sampled, agreement = [], [], []
    for interaction, _, rows, targets in test:
        interaction, rows, targets = (x.to(full.device) for x in (interaction, rows, targets))
        scores, wanted = (_scores(m, interaction) for m in (model, full))
        best, known = (s.topk(K).indices for s in (scores, wanted))
        agreement.append((best.unsqueeze(2) == known.unsqueeze(1)).any(2).float().mean(1))
        own, scores = scores[rows, targets].unsqueeze(1), scores[rows]
        ranks.append((scores > own).sum(1))
        # Candidates avoid the user's items, as the paper's do; the same ones for every model.
        taken = torch.cat([interaction[full.ITEM_SEQ][rows], targets.unsqueeze(1)], 1)
        candidates = others_than(taken.cpu(), scores.shape[1], NEGATIVES, chance)
        sampled.append((scores.gather(1, candidates.to(full.device)) > own).sum(1))
    result = {"agreement@10": torch.cat(agreement).mean().item()}
    for name, found in (("", torch.cat(ranks)), ("sampled_", torch.cat(sampled))):
        hit = found < K
        result[f"{name}hit@10"] = hit.float().mean().item()
        result[f"{name}ndcg@10"] = (hit / (found + 2.0).log2()).mean().item()
    return result


def others_than(taken: Tensor, n_items: int, n: int, generator: torch.Generator) -> Tensor:
    """Different random ids from 1 on that are not in ``taken``, ``n`` for each of its rows.

    Draws again what is taken or there twice, which few are: ``torch.multinomial`` would look at the
    whole catalogue for every row. Fewer than ``n`` where a row could have no more.

    Args:
        taken: ``(rows, any)``; the padding id 0 is taken anyway.
        n_items: With the padding id.
    """
    n = max(0, min(n, n_items - 1 - taken.shape[1]))
    drawn = torch.randint(1, n_items, (len(taken), n), generator=generator)
    while True:
        ordered, order = drawn.sort(dim=1, stable=True)
        twice = torch.zeros_like(drawn, dtype=torch.bool)
        twice.scatter_(1, order[:, 1:], ordered[:, 1:] == ordered[:, :-1])
        again = twice | (drawn.unsqueeze(2) == taken.unsqueeze(1)).any(2)
        if not again.any():
            return drawn
        drawn[again] = torch.randint(1, n_items, (int(again.sum()),), generator=generator)


def _scores(model: Any, interaction: Any) -> Tensor:
    scores = model.full_sort_predict(interaction).view(len(interaction), -1).clone()
    scores[:, 0] = -torch.inf
    return scores


def main(arguments: list[str]) -> None:
    parser = common_parser("quantization", (__doc__ or "").splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("models", nargs="+")
    parser.add_argument(
        "--recipes", nargs="+", default=["ptq", "self_sample"], help="or presets of such"
    )
    parser.add_argument("--bits", nargs="+", type=int, default=[8, 4, 2])
    parser.add_argument("--activation_bits", nargs="+", type=int, default=[8])
    parser.add_argument("--starts", nargs="+", default=["teacher"], help="of trained recipes")
    parser.add_argument("--data_path", default=str(ROOT / "dataset"))
    parser.add_argument("--set", nargs="+", default=[], help="KEY=VALUE of the training")
    parser.add_argument("--quantize", nargs="+", default=[], help="KEY=VALUE of the recipes")
    options = parser.parse_args(arguments)
    over = key_values(options.quantize)
    given = {"quantize": over} if over else {}
    full, quantized = [], []
    for model in options.models:
        plain = {"dataset": options.dataset, "model": model}
        full.append(
            {**plain, "recipe": "none", "bits": 32, "activation_bits": 32, "start": "teacher"}
        )
        for recipe in options.recipes:
            for bits in options.bits:
                for activation_bits in options.activation_bits:
                    for start in options.starts if recipe != "ptq" else ["teacher"]:
                        row = {"bits": bits, "activation_bits": activation_bits, "start": start}
                        quantized.append({**plain, "recipe": recipe, **row, **given})
    context = {
        "data_path": os.path.abspath(options.data_path),
        "kept": str(ROOT / "runs" / "quantization"),
        "training": key_values(options.set),
    }
    for entries in (full, quantized):  # a model is trained before it is quantized
        measure_all("benchmarks.quantization", entries, options, context)
        options.again = False


if __name__ == "__main__":
    main(sys.argv[1:])
