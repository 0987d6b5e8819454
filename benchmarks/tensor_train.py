"""Tensor-train tables beside the dense one: scoring, lookup and a training step.

    python -m benchmarks.tensor_train
    python -m benchmarks.tensor_train --only compare=step catalogue=tmall

Every entry is one table in a process of its own, with the dense table of the same width beside it:
what is compared takes turns, and the fastest of its turns counts, which other work on the machine
disturbs least. No backbone: a step is lookup, loss over all items, backward pass and Adam, and so
the ratio to the dense step is the worst that a model can have.

Scoring is measured for each way that the cores can be grouped (``1+1`` is core by core, ``2`` the
table built for the batch), and with the table kept from an earlier batch, as in evaluation; the
page adds what the cost rule takes. A batch whose scores would fill more than 512 MB is scored in
slices.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.fresh_process import require_memory
from benchmarks.results_file import common_parser, measure_all
from benchmarks.synthetic import ZipfCatalogue
from recbole_compress.embeddings import DenseEmbedding, ItemEmbedding, TensorTrainEmbedding
from recbole_compress.functional.tensor_train import merge_cores, tensor_train_scores
from recbole_compress.functional.tensor_train_costs import scoring_macs
from recbole_compress.functional.tensor_train_shapes import choose_shape
from recbole_compress.reports.environment import peak_rss_bytes

CATALOGUES: dict[str, dict[str, int]] = {
    "tmall": {"n_items": 40_727, "dim": 128},
    "retailrocket": {"n_items": 36_968, "dim": 256},
    "million": {"n_items": 1_000_000, "dim": 128},
}
# OD-Rec's shapes and ranks; `automatic` gives the size only and leaves the rest to us, and so does
# `quarter`, large cores that are to be stored in few bits.
TABLES: dict[str, dict[str, dict[str, Any]]] = {
    "tmall": {
        "tensor_train": {"row_shape": (169, 241), "col_shape": (16, 8), "ranks": 60},
        "semi_tensor_train": {
            "row_shape": (169, 241),
            "col_shape": (16, 8),
            "ranks": 60,
            "stp_factor": 2,
        },
        "semi_tensor_train, 3 cores": {
            "row_shape": (13, 13, 241),
            "col_shape": (8, 4, 4),
            "ranks": 60,
            "stp_factor": 2,
        },
        "automatic": {"ratio": 30, "stp_factor": 2},
        "quarter": {"ratio": 4, "stp_factor": 2},
    },
    "retailrocket": {
        "tensor_train": {"row_shape": (117, 316), "col_shape": (16, 16), "ranks": 100},
        "semi_tensor_train": {
            "row_shape": (117, 316),
            "col_shape": (16, 16),
            "ranks": 100,
            "stp_factor": 2,
        },
        "automatic": {"ratio": 30, "stp_factor": 2},
        "quarter": {"ratio": 4, "stp_factor": 2},
    },
    "million": {
        "tensor_train": {"ranks": 60},
        "semi_tensor_train": {"ranks": 60, "stp_factor": 2},
        "automatic": {"ratio": 30, "stp_factor": 2},
    },
}
BATCHES = (1, 16, 128, 1024)
TARGETS = (128, 512)
LENGTH = 50
SCORES_AT_ONCE = 2**27


def entries(seconds: float) -> Iterator[dict[str, Any]]:
    for catalogue, tables in TABLES.items():
        for table in tables:
            for compare in COMPARED:
                yield {
                    "compare": compare,
                    "catalogue": catalogue,
                    "table": table,
                    "seconds": seconds,
                }


def measure(
    compare: str,
    catalogue: str,
    table: str,
    seconds: float,
    seed: int,
    threads: int,
    sizes: dict[str, int] | None = None,
    batches: tuple[int, ...] = BATCHES,
    targets: tuple[int, ...] = TARGETS,
) -> dict[str, Any]:
    """One table against the dense one, in this process."""
    torch.manual_seed(seed)
    n_items, dim = (sizes or CATALOGUES[catalogue]).values()
    how = dict(TABLES[catalogue][table])
    if "ratio" in how:
        how["max_numbers"] = n_items * dim / how.pop("ratio")
    shape = choose_shape(n_items, dim, **how)
    require_memory(n_items * dim * 4 * 8 + 2_000_000_000)
    train = TensorTrainEmbedding(n_items + 1, shape)
    about = {
        "rows": list(shape.rows),
        "cols": list(shape.cols),
        "ranks": list(shape.ranks),
        "numbers": shape.n_numbers,
        "compression": n_items * dim / shape.n_numbers,
    }
    draw = ZipfCatalogue(n_items, seed=seed).draw
    return {**about, **COMPARED[compare](train, draw, seconds, batches, targets)}


def scoring(
    train: TensorTrainEmbedding, draw: Any, seconds: float, batches: Any, targets: Any
) -> dict[str, Any]:
    dense = DenseEmbedding(train.num_embeddings, train.embedding_dim)
    cores = [core.detach() for core in train.cores]
    n_items, rows = train.num_embeddings - 1, train.shape
    results = {}
    with torch.inference_mode():
        table = merge_cores(cores)
        for batch in batches:
            hidden = torch.randn(batch, train.embedding_dim)
            slices = hidden.split(max(1, SCORES_AT_ONCE // n_items))
            plans = sorted(_groupings(rows.n_cores), key=len, reverse=True)
            ways: dict[str, Callable[[], Any]] = {
                "dense": lambda slices=slices: [h @ dense.weight.T for h in slices],
                "table kept": lambda slices=slices: [
                    tensor_train_scores([table], h) for h in slices
                ],
            }
            for plan in plans:
                if batch > 1 or len(plan) > 1:  # one request never builds the table
                    ways[_named(plan)] = lambda slices=slices, plan=plan: _grouped(
                        cores, plan, slices
                    )
            results[str(batch)] = {
                "ms": in_turns(ways, seconds),
                "macs": {_named(plan): scoring_macs(rows, batch, plan) for plan in plans},
                "difference": float(
                    (
                        _grouped(cores, plans[0], slices[:1])[0][:, :n_items]
                        - tensor_train_scores([table], slices[0])[:, :n_items]
                    )
                    .abs()
                    .max()
                ),
            }
    return {"batches": results}


def _groupings(n_cores: int) -> Iterator[tuple[int, ...]]:
    for cuts in itertools.product((False, True), repeat=n_cores - 1):
        edges = [0, *(k + 1 for k, cut in enumerate(cuts) if cut), n_cores]
        yield tuple(end - start for start, end in itertools.pairwise(edges))


def _named(plan: tuple[int, ...]) -> str:
    return "+".join(map(str, plan))


def _grouped(cores: list[Tensor], plan: tuple[int, ...], slices: Any) -> list[Tensor]:
    remaining = iter(cores)
    merged = [merge_cores([next(remaining) for _ in range(size)]) for size in plan]
    return [tensor_train_scores(merged, h) for h in slices]


def lookup(
    train: TensorTrainEmbedding, draw: Any, seconds: float, batches: Any, targets: Any
) -> dict[str, Any]:
    dense = DenseEmbedding(train.num_embeddings, train.embedding_dim).eval()
    train.eval()
    results = {}
    with torch.inference_mode():
        for n_sequences in batches:
            ids = draw(n_sequences, LENGTH)
            ways: dict[str, Callable[[], Any]] = {
                "dense": lambda ids=ids: dense(ids),
                "tensor train": lambda ids=ids: train(ids),
            }
            results[str(n_sequences)] = {
                "distinct": len(ids.unique()),
                "ms": in_turns(ways, seconds),
            }
    return {"sequences": results}


def step(
    train: TensorTrainEmbedding, draw: Any, seconds: float, batches: Any, targets: Any
) -> dict[str, Any]:
    results: dict[str, Any] = {}
    built = peak_rss_bytes()
    steps = {n: _step(train, draw, n) for n in targets}
    for each in steps.values():
        each()
    trained = peak_rss_bytes()
    dense = DenseEmbedding(train.num_embeddings, train.embedding_dim)
    for n, each in steps.items():
        times = in_turns({"tensor train": each, "dense": _step(dense, draw, n)}, seconds)
        results[str(n)] = {"ms": times, "ratio": times["tensor train"] / times["dense"]}
    return {
        "targets": results,
        "rss_bytes_built": built,
        "rss_bytes_trained": trained,
        "rss_bytes_trained_dense": peak_rss_bytes(),
    }


def _step(table: ItemEmbedding, draw: Any, n_targets: int) -> Callable[[], None]:
    optimizer = torch.optim.Adam(table.parameters(), lr=1e-3)
    items, targets = draw(n_targets), draw(n_targets)

    def run() -> None:
        optimizer.zero_grad()
        table.cross_entropy(table(items), targets).backward()
        optimizer.step()

    return run


COMPARED = {"scoring": scoring, "lookup": lookup, "step": step}


def in_turns(ways: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Milliseconds of the fastest run of each, all taking turns for about so long in all."""
    for way in ways.values():
        way()
    best = dict.fromkeys(ways, float("inf"))
    deadline = time.perf_counter() + seconds
    turns = 0
    while turns < 2 or time.perf_counter() < deadline:
        turns += 1
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: value * 1e3 for name, value in best.items()}


def main() -> None:
    parser = common_parser("tensor_train", __doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="per comparison")
    options = parser.parse_args()
    measure_all("benchmarks.tensor_train", entries(options.seconds), options)


if __name__ == "__main__":
    main()
