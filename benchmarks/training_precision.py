"""What ``train_matmul_precision`` is worth in a training step over a large catalogue.

    python -m benchmarks.training_precision

Products in full float32, rounded to bfloat16 where the processor has units for it, or everything
that autocast makes in bfloat16 (``enable_amp``), the softmax over all items included. TTSASRec with
a dense and with a semi-tensor-train table of a 30th of its numbers, width 128, 512 targets per step
through ``CompressTrainer``'s own loop, on a synthetic catalogue. Each in a process of its own; the
median of the steps counts, and the processor's time for a step, which other work disturbs less.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from recbole.utils import get_model, init_seed

from benchmarks.catalogue_growth import LENGTH, TARGETS, SyntheticBatches
from benchmarks.results_file import common_parser, measure_all
from benchmarks.synthetic import ZipfCatalogue
from benchmarks.timed_batches import TimedBatches
from recbole_compress.config import Config
from recbole_compress.trainers import CompressTrainer

N_ITEMS = 40_000
TABLES = {"dense": {}, "semi_tensor_train": {"tt_ratio": 30}}
PRECISIONS = {
    "highest": {},
    "medium": {"train_matmul_precision": "medium"},
    "autocast": {"enable_amp": True, "amp_dtype": "bfloat16"},
}


def measure(
    table: str,
    precision: str,
    seconds: float,
    seed: int,
    threads: int,
    n_items: int = N_ITEMS,
) -> dict[str, Any]:
    """One table at one precision."""
    config = Config(
        "TTSASRec",
        "synthetic",
        config_dict={
            "item_embedding": table,
            **TABLES[table],
            "embedding_size": 128,
            "MAX_ITEM_LIST_LENGTH": LENGTH,
            **PRECISIONS[precision],
            "seed": seed,
        },
    )
    init_seed(seed, config["reproducibility"])
    catalogue = ZipfCatalogue(n_items, seed=seed)
    model = get_model(config["model"])(config, catalogue)
    trainer = CompressTrainer(config, model)
    batches = TimedBatches(
        SyntheticBatches(catalogue, model, steps=400),
        count_targets=lambda batch: TARGETS,
        seconds=seconds,
        min_steps=4,
    )
    before = time.process_time()
    trainer._train_epoch(batches, 0)
    spent = time.process_time() - before
    return {
        "step_ms": statistics.median(batches.seconds) * 1e3,
        "step_cpu_ms": spent / (len(batches.seconds) + batches.warm_up) * 1e3,
        "timed_steps": len(batches.seconds),
    }


def main() -> None:
    parser = common_parser("training_precision", (__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="counted, per entry")
    options = parser.parse_args()
    entries = [
        {"table": t, "precision": p, "seconds": options.seconds} for t in TABLES for p in PRECISIONS
    ]
    measure_all("benchmarks.training_precision", entries, options)


if __name__ == "__main__":
    main()
