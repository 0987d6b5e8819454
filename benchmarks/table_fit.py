"""How much of a trained item table fits into fewer numbers, and what the fit is worth.

    python -m benchmarks.table_fit tmall=saved/TEACHER.pth

A trained model's own table is replaced by the closest one that a form of so many numbers can have,
nothing is trained after that, and the test split is ranked: what is lost is lost to the form. Rows
that ``docs/results/table_fit.json`` holds are not measured again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.fresh_process import ROOT
from benchmarks.results_file import common_parser, measure_all, named_checkpoints
from recbole_compress.data.loaders import split_of
from recbole_compress.embeddings import ItemEmbedding, LowRankEmbedding, TensorTrainEmbedding
from recbole_compress.functional.scattered_rows import scattering_factor
from recbole_compress.functional.tensor_train_shapes import choose_shape
from recbole_compress.quick_start.from_checkpoint import model_of, rebuilt_config
from recbole_compress.quick_start.host_models import dataset_class
from recbole_compress.quick_start.prepared_data import prepare_data
from recbole_compress.trainers.checkpoint import load_checkpoint

__all__ = ["FORMS", "measure"]

K = 10
TIMES = (2, 4, 15, 30)
# Of a tied model, which has no other.
_TABLE = "item_embedding."


def _tensor_train(n: int, dim: int, times: int, stp_factor: int = 1) -> ItemEmbedding:
    numbers = n * dim / times
    shape = choose_shape(n - 1, dim, max_numbers=numbers, stp_factor=stp_factor)
    return TensorTrainEmbedding(n, shape, factor=scattering_factor(n - 1))


# By name: an empty table of ``(n, dim)`` with so many times fewer numbers.
FORMS: dict[str, Callable[[int, int, int], ItemEmbedding]] = {
    "semi-tensor train": lambda n, dim, times: _tensor_train(n, dim, times, stp_factor=2),
    "tensor train": _tensor_train,
    "low-rank": lambda n, dim, times: LowRankEmbedding(n, dim, rank=max(1, dim // times)),
}


@torch.no_grad()
def measure(
    dataset: str,
    form: str,
    times: int,
    seed: int,
    threads: int,
    checkpoints: dict[str, str],
    data_path: str,
) -> dict[str, Any]:
    """One row; ``form="dense"`` is the table as it was trained, whatever its own form."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    path = checkpoints[dataset]
    state = load_checkpoint(path)
    ranked = {"metrics": ["NDCG"], "topk": [K], "valid_metric": f"NDCG@{K}"}
    config = rebuilt_config(state, path, data_path=data_path, **ranked)
    train, _, test = prepare_data(config, dataset_class(config)(config))
    table = model_of(config, split_of(train), state, path).item_embedding
    trained_as, weight, error = config["item_embedding"], table.dense_weight(), 0.0
    if form != "dense":
        table = FORMS[form](*weight.shape, times)
        table.approximate_(weight)
        error = float((table.dense_weight() - weight)[1:].norm() / weight[1:].norm())
    written_out = rebuilt_config(
        state, path, data_path=data_path, item_embedding="dense", item_head="tied", **ranked
    )
    weights = {k: v for k, v in state["state_dict"].items() if not k.startswith(_TABLE)}
    weights |= {f"{_TABLE}weight": table.dense_weight()}
    state = {**state, "state_dict": weights}
    model = model_of(written_out, split_of(train), state, path).eval()
    return {
        "trained_as": trained_as,
        "numbers": sum(parameter.numel() for parameter in table.parameters()),
        "relative_error": error,
        **_ndcg(model, test),
    }


def _ndcg(model: Any, test: Any) -> dict[str, float]:
    """Over all rows, over those whose target the sequence holds already, and over the others."""
    gains: list[Tensor] = []
    again: list[Tensor] = []
    for interaction, _, rows, targets in test:
        sequences = interaction[model.ITEM_SEQ][rows]
        scores = model.full_sort_predict(interaction).view(len(interaction), -1).clone()
        scores[:, 0] = -torch.inf
        own = scores[rows, targets].unsqueeze(1)
        rank = (scores[rows] > own).sum(1)
        gains.append((rank < K) / (rank + 2.0).log2())
        again.append((sequences == targets.unsqueeze(1)).any(1))
    gain, known = torch.cat(gains), torch.cat(again)
    groups = {"": gain, "_again": gain[known], "_new": gain[~known]}
    return {f"ndcg@{K}{name}": float(its.mean()) for name, its in groups.items() if len(its)}


def main(arguments: list[str]) -> None:
    parser = common_parser("table_fit", (__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", metavar="DATASET=FILE")
    parser.add_argument("--data_path", default=str(ROOT / "dataset"))
    options = parser.parse_args(arguments)
    checkpoints = named_checkpoints(options.checkpoints)
    context = {"checkpoints": checkpoints, "data_path": str(Path(options.data_path).resolve())}
    forms = [("dense", 1), *((form, times) for times in TIMES for form in FORMS)]
    entries = [
        {"dataset": dataset, "form": form, "times": times}
        for dataset in checkpoints
        for form, times in forms
    ]
    measure_all("benchmarks.table_fit", entries, options, context)


if __name__ == "__main__":
    main(sys.argv[1:])
