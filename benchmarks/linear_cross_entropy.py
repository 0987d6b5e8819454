"""Time of ``linear_cross_entropy`` beside ``F.cross_entropy(hidden @ weight.T, targets)``.

Forward and backward, gradients of both hidden and weight. The two take turns within one run and
their medians are compared, so that a busy machine slows both alike; ``best_speedup`` compares the
fastest run of each, which other work on the machine disturbs least.

    python -m benchmarks.linear_cross_entropy --output linear_cross_entropy.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.provenance import provenance
from recbole_compress.functional.cross_entropy import default_chunk_size, linear_cross_entropy

N_TARGETS, DIM = 1_024, 64
N_CLASSES = (3_417, 12_101, 54_542)
THREADS = (1, 2)


def dense(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(hidden @ weight.T, targets)


def measure(n_classes: int, threads: int, repeats: int, seed: int) -> dict[str, float]:
    """Median times of both and their ratio, for one catalogue size and thread count."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    hidden = torch.randn(N_TARGETS, DIM, requires_grad=True)
    weight = (torch.randn(n_classes, DIM) * 0.1).requires_grad_()
    targets = torch.randint(n_classes, (N_TARGETS,))

    def seconds(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> float:
        hidden.grad = weight.grad = None
        start = time.perf_counter()
        loss(hidden, weight, targets).backward()
        return time.perf_counter() - start

    losses = {"dense": dense, "chunked": linear_cross_entropy}
    for loss in losses.values():
        seconds(loss)  # the first call allocates and warms caches
    times: dict[str, list[float]] = {name: [] for name in losses}
    for _ in range(repeats):
        for name, loss in losses.items():
            times[name].append(seconds(loss))
    median_ms = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    return {
        "n_targets": N_TARGETS,
        "n_classes": n_classes,
        "dim": DIM,
        "threads": threads,
        "chunk_size": default_chunk_size(n_classes),
        "dense_ms": round(median_ms["dense"], 2),
        "chunked_ms": round(median_ms["chunked"], 2),
        "speedup": round(median_ms["dense"] / median_ms["chunked"], 2),
        "best_speedup": round(min(times["dense"]) / min(times["chunked"]), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="write the result to this JSON file")
    parser.add_argument("--repeats", type=int, default=11, help="interleaved runs per median")
    parser.add_argument("--seed", type=int, default=2020)
    options = parser.parse_args()

    rows = []
    print(" classes  threads  dense ms  chunked ms  speedup   best")
    for threads in THREADS:
        for n_classes in N_CLASSES:
            row = measure(n_classes, threads, options.repeats, options.seed)
            rows.append(row)
            print(
                f"{n_classes:>8} {threads:>8} {row['dense_ms']:>9.1f} {row['chunked_ms']:>11.1f} "
                f"{row['speedup']:>7.2f}x {row['best_speedup']:>5.2f}x",
                flush=True,
            )
    if options.output:
        result = {"seed": options.seed, "repeats": options.repeats, "rows": rows}
        options.output.write_text(
            json.dumps(result | {"provenance": provenance()}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
