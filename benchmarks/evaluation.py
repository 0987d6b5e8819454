"""Time and memory of full-ranking evaluation: RecBole's own path beside ours, same model.

    python -m benchmarks.evaluation

Paths: ``recbole`` is RecBole's trainer, collector and default batch of 4096 rows, so a score and an
int32 matrix of 4096 rows times the catalogue; ``bounded_collector`` scores everything too, in
batches that fit ``eval_score_bytes``, and keeps the top-k only; ``ours`` is what models of this
package get: their own top-k. The model is the default CpRecNextItNet, trained for a few epochs by a
process of its own, so that there are hits to count; every path evaluates the same weights on the
same test split of a synthetic data set and must give the same metrics to the last digit.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from recbole.trainer import Trainer

from benchmarks.evaluation_model import load
from benchmarks.fresh_process import measure_apart, require_memory
from benchmarks.results_file import Runs, common_parser, measure_all
from recbole_compress.data.loaders import split_of
from recbole_compress.reports.environment import peak_rss_bytes
from recbole_compress.trainers import CompressTrainer, SafeTrainer

# Items, and users: a row of the test split each. A whole batch of RecBole's; what memory allows.
SIZES = ((50_000, 4_096), (300_000, 2_000))


class BoundedTrainer(SafeTrainer, Trainer):
    """RecBole's trainer behind our mixin: all scores, but few rows at a time and top-k only."""


# Trainer and settings of each path.
PATHS: dict[str, tuple[type, dict[str, Any]]] = {
    "recbole": (Trainer, {"eval_score_bytes": 2**60}),
    "bounded_collector": (BoundedTrainer, {}),
    "ours": (CompressTrainer, {}),
}


def entries() -> Iterator[dict[str, Any]]:
    for n_items, n_users in SIZES:
        for path in PATHS:
            yield {"n_items": n_items, "n_users": n_users, "path": path}


def measure(
    n_items: int,
    n_users: int,
    path: str,
    seed: int,
    threads: int,
    epochs: int = 3,
    repeats: int = 2,
) -> dict[str, Any]:
    """One path on one catalogue, in this process."""
    if path == "recbole":
        # The scores, what the head makes them of, and the collector's integers.
        require_memory(4 * 4 * min(n_users, 4096) * (n_items + 1))
    size = {"n_items": n_items, "n_users": n_users, "seed": seed, "threads": threads}
    with tempfile.TemporaryDirectory() as folder:
        # The seed makes the same weights for every path; the digest shows that they are.
        measure_apart("benchmarks.evaluation_model", {**size, "epochs": epochs}, {"folder": folder})
        return evaluate(folder, path, seed, repeats)


def evaluate(folder: str, path: str, seed: int, repeats: int) -> dict[str, Any]:
    """Evaluate the model that :mod:`benchmarks.evaluation_model` has left in ``folder``."""
    trainer_class, settings = PATHS[path]
    model, (_, _, test_data), config = load(folder, {"seed": seed, **settings})
    trainer = trainer_class(config, model)
    loaded = peak_rss_bytes()
    seconds, results = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        results.append(dict(trainer.evaluate(test_data, load_best_model=False)))
        seconds.append(time.perf_counter() - start)
    if any(result != results[0] for result in results):
        raise RuntimeError(f"path={path}: the same evaluation gave different metrics: {results}")
    return {
        "seconds": statistics.median(seconds),
        "all_seconds": seconds,
        "rows": len(split_of(test_data)),
        "eval_batch_size": config["eval_batch_size"],
        "rss_bytes_before_evaluation": loaded,
        "weights_sha256": digest(model),
        "metrics": {name: float(value) for name, value in results[0].items()},
    }


def digest(model: Any) -> str:
    answer = hashlib.sha256()
    for tensor in model.state_dict().values():
        answer.update(tensor.contiguous().numpy().tobytes())
    return answer.hexdigest()


def summary(runs: Runs) -> dict[str, Any]:
    """Every path beside RecBole's, and whether their metrics are the same numbers."""
    by_size: dict[tuple[int, int], dict[str, Any]] = {}
    for run in runs:
        size = run["entry"]["n_items"], run["entry"]["n_users"]
        by_size.setdefault(size, {})[run["entry"]["path"]] = run["result"]
    rows = []
    for (n_items, n_users), results in by_size.items():
        measured = {path: r for path, r in results.items() if "metrics" in r}
        rows.append(
            {
                "n_items": n_items,
                "n_users": n_users,
                "seconds": {path: round(r["seconds"], 3) for path, r in measured.items()},
                "peak_rss_bytes": {path: r["peak_rss_bytes"] for path, r in measured.items()},
                "paths_with_the_same_model_and_metrics": same(measured),
            }
        )
    return {"comparison": rows}


def same(results: dict[str, dict[str, Any]]) -> list[str]:
    """Names of all paths.

    Raises:
        RuntimeError: Two of them differ in model or metrics.
    """
    for key in ("weights_sha256", "metrics"):
        values = {path: result[key] for path, result in results.items()}
        if any(value != next(iter(values.values())) for value in values.values()):
            raise RuntimeError(f"{key} differ between paths: {values}")
    return list(results)


def main() -> None:
    parser = common_parser("evaluation", __doc__.splitlines()[0])
    options = parser.parse_args()
    measure_all("benchmarks.evaluation", entries(), options, summary=summary)


if __name__ == "__main__":
    main()
