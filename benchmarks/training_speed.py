"""Seconds per epoch of RecBole's NextItNet, GRU4Rec and SASRec beside ours, same width and depth.

    python -m benchmarks.training_speed --data_path=dataset
    python -m benchmarks.training_speed --only dataset=ml-100k backbone=NextItNet
    python -m benchmarks.training_speed --equal_time=300
    python -m benchmarks.training_speed --device=cuda

Variants: ``as_shipped`` is RecBole's model with autograd's anomaly mode on, as importing RecBole
leaves it; ``anomaly_off`` is the same without; ``untied``, ``tied`` and ``cprec`` are ours, dense
with two tables, dense with one (as RecBole's have), and with the default compression. Batch sizes
are what each ships with: rows for RecBole's, targets for ours; both train every target of the train
split once an epoch. Every step runs in the trainer's own loop, making its batch included.

An epoch is timed whole or by a sample of its shuffled batches (``--sample_seconds``; 0 for whole
epochs), scaled by the number of targets. ml-100k's batches are made by RecBole's own data set;
where its augmentation takes gigabytes, by our index-based one, padded alike: the entry
``compare=batches`` checks that they are the same and what they cost.

Entries of ``compare=phases`` say where a step's time goes. ``--equal_time`` trains RecBole's
NextItNet as shipped and ours for the same number of seconds (after at least one epoch).

On a GPU there are two more variants of ours: with short floats wherever torch knows how
(``untied, bf16``), and with batches eight times as large besides.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from recbole.data.dataset import SequentialDataset
from recbole.utils import get_model, get_trainer, init_seed

from benchmarks.results_file import Runs, common_parser, measure_all
from benchmarks.step_phases import StepPhases
from benchmarks.timed_batches import TimedBatches
from recbole_compress.config import Config
from recbole_compress.data import SequenceDataset, training_loader
from recbole_compress.data.loaders import split_of
from recbole_compress.data.sequence_dataset import TARGET_LIST_PREFIX
from recbole_compress.quick_start.prepared_data import prepare_data
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.reports.environment import peak_rss_bytes

# Seconds of counted steps per entry; None stands for whole epochs.
DATASETS: dict[str, float | None] = {"ml-100k": 10.0, "ml-1m": 5.0, "amazon-beauty": 5.0}
RECBOLE_AUGMENTS = ("ml-100k",)
LARGE = ("ml-1m", "amazon-beauty")
WARM_UP, GPU_WARM_UP = 2, 5
GPU_SECONDS, GPU_PHASE_SECONDS = 2.0, 1.0

# RecBole's models with as many layers as ours have: [1, 4] * 2 is our [1, 4, 1, 4].
BACKBONES: dict[str, dict[str, Any]] = {
    "NextItNet": {"embedding_size": 64, "block_num": 2, "dilations": [1, 4], "kernel_size": 3},
    "GRU4Rec": {"embedding_size": 64, "hidden_size": 128, "num_layers": 1},
    "SASRec": {"hidden_size": 64, "n_layers": 2, "n_heads": 2, "inner_size": 256},
}
STOCK = {"as_shipped": True, "anomaly_off": False}
DENSE = {"item_embedding": "dense", "layer_sharing": "none"}
OURS: dict[str, dict[str, Any]] = {
    "untied": {**DENSE, "item_head": "untied"},
    "tied": {**DENSE, "item_head": "tied"},
    "cprec": {},
}
BF16 = {"enable_amp": True, "amp_dtype": "bfloat16", "train_matmul_precision": "medium"}
ROUNDED: dict[str, dict[str, Any]] = {
    f"{variant}, {name}": {**OURS[variant], **BF16, **more}
    for variant in ("untied", "cprec")
    for name, more in {"bf16": {}, "bf16, 8x batch": {"train_batch_size": 8 * 512}}.items()
}


def entries(sample_seconds: float | None, device: str = "cpu") -> Iterator[dict[str, Any]]:
    """All that is measured by default; None leaves every data set its own sample."""
    on_gpu = device == "cuda"
    if not on_gpu:
        yield {"compare": "batches", "dataset": "ml-100k"}
    for dataset, seconds in DATASETS.items():
        if on_gpu:
            seconds = GPU_SECONDS
        sample = seconds if sample_seconds is None else sample_seconds or None
        rows = [(backbone, variant) for backbone in BACKBONES for variant in (*STOCK, *OURS)]
        if on_gpu and dataset in LARGE:
            rows += [("NextItNet", variant) for variant in ROUNDED]
        for backbone, variant in rows:
            yield {
                "compare": "epochs",
                "dataset": dataset,
                "backbone": backbone,
                "variant": variant,
                "sample_seconds": sample,
            }
    length = {"seconds": GPU_PHASE_SECONDS} if on_gpu else {}
    for dataset in LARGE:
        for variant in ("cprec", "untied"):
            yield {"compare": "phases", "dataset": dataset, "variant": variant, **length}


def equal_time_entries(seconds: float) -> Iterator[dict[str, Any]]:
    for variant in ("as_shipped", "untied", "cprec"):
        yield {
            "compare": "equal_time",
            "dataset": "ml-100k",
            "backbone": "NextItNet",
            "variant": variant,
            "train_seconds": seconds,
        }


def measure(
    compare: str,
    seed: int,
    threads: int,
    data_path: str,
    settings: Any = None,
    device: str = "cpu",
    **entry: Any,
) -> dict[str, Any]:
    """One entry, in this process.

    Args:
        compare: What kind of measurement: a key of :data:`MEASUREMENTS`.
        seed: Of weights, shuffles and dropout.
        threads: What torch has been set to use.
        data_path: Folder of the data sets.
        settings: Config keys that replace those of the entry.
        device: ``"cpu"`` or ``"cuda"``.
        entry: Arguments of that kind of measurement.
    """
    given = {"seed": seed, "data_path": data_path, "use_gpu": device == "cuda", **(settings or {})}
    return MEASUREMENTS[compare](given, **entry)


# -- one epoch -------------------------------------------------------------------------------


def measure_epoch(
    given: dict[str, Any],
    dataset: str,
    backbone: str,
    variant: str,
    sample_seconds: float | None,
) -> dict[str, Any]:
    start = time.perf_counter()
    config = make_config(given, dataset, backbone, variant)
    if variant in STOCK:
        trainer, loader = stock_training(config, recbole_augments=dataset in RECBOLE_AUGMENTS)
    else:
        trainer, loader = our_training(config)
    before: dict[str, Any] = {}
    if trainer.device.type == "cpu":  # else what came before in this process counts as well
        before["preparation_seconds"] = time.perf_counter() - start
        before["rss_bytes_before_training"] = peak_rss_bytes()
    batches = timed(trainer, loader, sample_seconds)
    with torch.autograd.set_detect_anomaly(STOCK.get(variant, False)):
        trainer._train_epoch(batches, 0)
    total = targets_per_epoch(loader)
    return {
        "seconds_per_epoch": sum(batches.seconds) / sum(batches.targets) * total,
        "targets_per_epoch": total,
        "batches_per_epoch": len(batches),
        "targets_per_step": statistics.mean(batches.targets),
        "median_step_seconds": statistics.median(batches.seconds),
        "timed_steps": len(batches.seconds),
        "timed_seconds": sum(batches.seconds),
        "whole_epoch": batches.complete,
        "train_batch_size": config["train_batch_size"],
        "batches_made_by": type(split_of(loader)).__mro__[0].__name__,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "anomaly_mode": STOCK.get(variant, False),
        **before,
    }


def timed(trainer: Any, loader: Any, seconds: float | None, mark: Any = None) -> TimedBatches:
    device = trainer.device.type
    warm_up = WARM_UP if device == "cpu" else GPU_WARM_UP
    return TimedBatches(loader, targets_of(trainer.model), warm_up, seconds, 3, mark, device)


def make_config(given: dict[str, Any], dataset: str, backbone: str, variant: str) -> Config:
    """Settings of one variant; whatever is not named here is as it ships."""
    if variant in STOCK:
        name, chosen = backbone, {**BACKBONES[backbone], "training_targets": "last"}
    else:
        name, chosen = f"CpRec{backbone}", {**OURS, **ROUNDED}[variant]
    config = Config(name, dataset, config_dict={**chosen, **given})
    init_seed(config["seed"], config["reproducibility"])
    return config


def stock_training(config: Config, recbole_augments: bool) -> tuple[Any, Any]:
    """RecBole's own trainer and train loader, on its own rows or on the same rows by index."""
    if recbole_augments:
        loader = prepare_data(config, built(SequentialDataset, config))[0]
    else:
        loader = prepare_data(config, built(SequenceDataset, config))[0]
        split_of(loader).row_width = config["MAX_ITEM_LIST_LENGTH"]  # RecBole pads every row so
    model = on_its_device(config, split_of(loader))
    return get_trainer(config["MODEL_TYPE"], config["model"])(config, model), loader


def our_training(config: Config) -> tuple[Any, Any]:
    """What ``CompressTrainer.fit`` trains with."""
    train_data = prepare_data(config, built(SequenceDataset, config))[0]
    generator = torch.Generator().manual_seed(config["seed"])
    loader: Any = training_loader(train_data, config, generator)
    model = on_its_device(config, split_of(loader))
    return get_trainer(config["MODEL_TYPE"], config["model"])(config, model), loader


def on_its_device(config: Config, train_split: Any) -> Any:
    return get_model(config["model"])(config, train_split).to(config["device"])


_BUILT: dict[tuple[Any, ...], Any] = {}


def built(kind: Callable[[Config], Any], config: Config) -> Any:
    """A data set split once: on a GPU, where entries share a process, it would take the longest."""
    names = ("data_path", "dataset", "training_targets", "MAX_ITEM_LIST_LENGTH", "seed")
    key = (kind, *(config[name] for name in names))
    if key not in _BUILT:
        dataset = kind(config)
        splits = dataset.build()
        dataset.build = lambda: splits
        _BUILT[key] = dataset
    return _BUILT[key]


def targets_of(model: Any) -> Callable[[Any], int]:
    target_list = TARGET_LIST_PREFIX + model.ITEM_SEQ

    def count(batch: Any) -> int:
        return int((batch[target_list] > 0).sum()) if target_list in batch else len(batch)

    return count


def targets_per_epoch(loader: Any) -> int:
    dataset = split_of(loader)
    if isinstance(dataset, SequenceDataset):
        return int(dataset.example_targets().sum())
    return len(dataset.inter_feat)


# -- what stands behind the comparison ---------------------------------------------------------


def compare_batches(given: dict[str, Any], dataset: str, repeats: int = 20) -> dict[str, Any]:
    """Whether our index-based data set makes RecBole's own batches, and what both take for one."""
    config = make_config(given, dataset, "NextItNet", "as_shipped")
    theirs = SequentialDataset(config).build()[0]
    ours = SequenceDataset(config).build()[0]
    ours.row_width = config["MAX_ITEM_LIST_LENGTH"]
    rows = len(theirs.inter_feat)
    random = np.random.default_rng(config["seed"])
    size = min(config["train_batch_size"], rows)
    seconds: dict[str, list[float]] = {"recbole": [], "by_index": []}
    equal = rows == len(ours.inter_feat)
    for _ in range(repeats):
        index = random.choice(rows, size, replace=False)
        made = []
        for name, split in (("recbole", theirs), ("by_index", ours)):
            start = time.perf_counter()
            made.append(split[index])
            seconds[name].append(time.perf_counter() - start)
        for field in (ours.uid_field, ours.iid_field, ours.item_id_list_field, "item_length"):
            equal = equal and bool(torch.equal(made[0][field], made[1][field]))
    median = {f"{name}_ms": statistics.median(times) * 1e3 for name, times in seconds.items()}
    return {"rows": size, "equal": equal, **median}


def measure_phases(
    given: dict[str, Any],
    dataset: str,
    variant: str,
    backbone: str = "NextItNet",
    seconds: float = 5.0,
) -> dict[str, Any]:
    """Where one of our training steps spends its time."""
    trainer, loader = our_training(make_config(given, dataset, backbone, variant))
    phases = StepPhases(trainer.model, trainer.optimizer, trainer.device.type)
    batches = timed(trainer, loader, seconds, phases.mark)
    trainer._train_epoch(batches, 0)
    return {
        "median_step_ms": statistics.median(batches.seconds) * 1e3,
        "targets_per_step": statistics.mean(batches.targets),
        **phases.summary(batches.warm_up),
    }


def measure_equal_time(
    given: dict[str, Any], dataset: str, backbone: str, variant: str, train_seconds: float
) -> dict[str, Any]:
    """Validation accuracy after so many seconds of training, evaluation not counted."""
    chosen = OURS.get(variant, BACKBONES[backbone])
    limited = {
        "train_time_limit": train_seconds,
        "valid_metric": "NDCG@10",
        "epochs": 10_000,
        "stopping_step": 10_000,
        "show_progress": False,
    }
    with torch.autograd.set_detect_anomaly(STOCK.get(variant, False)):
        done = run_recbole_compress(
            backbone if variant in STOCK else f"CpRec{backbone}",
            dataset,
            config_dict={**chosen, **limited, **given},
        )
    training = done["card"]["training"]
    return {
        "valid_ndcg@10": done["best_valid_result"]["ndcg@10"],
        "test_ndcg@10": done["test_result"]["ndcg@10"],
        "train_seconds": training["seconds"],
        "epochs": training["epochs"],
        "anomaly_mode": STOCK.get(variant, False),
    }


MEASUREMENTS: dict[str, Callable[..., dict[str, Any]]] = {
    "epochs": measure_epoch,
    "batches": compare_batches,
    "phases": measure_phases,
    "equal_time": measure_equal_time,
}


def summary(runs: Runs) -> dict[str, Any]:
    """How many times as long RecBole's epoch takes, per data set, backbone and pair of variants."""
    by_entry: dict[tuple[str, str], dict[str, Any]] = {}
    for run in runs:
        entry, result = run["entry"], run["result"]
        if entry["compare"] == "epochs" and "seconds_per_epoch" in result:
            pair = entry["dataset"], entry["backbone"]
            by_entry.setdefault(pair, {})[entry["variant"]] = result
    rows = []
    for (dataset, backbone), results in by_entry.items():
        ratios = {
            f"{theirs}/{ours}": round(
                results[theirs]["seconds_per_epoch"] / results[ours]["seconds_per_epoch"], 2
            )
            for theirs in STOCK
            for ours in OURS
            if theirs in results and ours in results
        }
        targets = {result["targets_per_epoch"] for result in results.values()}
        rows.append(
            {
                "dataset": dataset,
                "backbone": backbone,
                "targets_per_epoch": sorted(targets),
                "same_targets": len(targets) == 1,
                "seconds_per_epoch": {
                    variant: round(result["seconds_per_epoch"], 2)
                    for variant, result in results.items()
                },
                "ratios": ratios,
            }
        )
    return {"comparison": rows}


def main() -> None:
    parser = common_parser("training_speed", __doc__.splitlines()[0], on_gpu=True)
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument(
        "--sample_seconds", type=float, help="counted seconds per entry; 0 for whole epochs"
    )
    parser.add_argument("--equal_time", type=float, metavar="SECONDS", help="measure only this")
    options = parser.parse_args()
    chosen = (
        equal_time_entries(options.equal_time)
        if options.equal_time
        else entries(options.sample_seconds, options.device)
    )
    context = {"data_path": os.path.abspath(options.data_path)}
    measure_all("benchmarks.training_speed", chosen, options, context, summary)


if __name__ == "__main__":
    main()
