"""``recbole-compress quantize CHECKPOINT``: from a trained model to a file of packed integers.

The data set is neither needed nor looked for, except by recipes that train on it.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import time
from typing import Any, NamedTuple

from recbole.utils import init_seed

from recbole_compress.arguments import naming_options, read_file_arguments
from recbole_compress.config import Config
from recbole_compress.config.properties_folder import overall_yaml
from recbole_compress.config.schema import declared_in
from recbole_compress.data.loaders import split_of
from recbole_compress.datafree import NextItemModel
from recbole_compress.errors import CheckpointError
from recbole_compress.files import check_writable, keep_input
from recbole_compress.functional.integer_grid import check_numbers
from recbole_compress.models.item_order import sort_item_blocks_
from recbole_compress.quantization import (
    QuantizationReport,
    QuantizationSpec,
    freeze_,
    manifest,
    quantize_,
)
from recbole_compress.quantization.targets import targets
from recbole_compress.quick_start.from_checkpoint import (
    Restored,
    made_anew,
    model_alone,
    rebuilt_config,
    writing_beside,
)
from recbole_compress.quick_start.prepared_data import prepare_data
from recbole_compress.quick_start.pretraining import load_data
from recbole_compress.quick_start.progress import progress_on_standard_error
from recbole_compress.quick_start.threads import given_threads
from recbole_compress.reports.readable import counted
from recbole_compress.trainers.bit_budget import spec_within
from recbole_compress.trainers.checkpoint import (
    checkpoint_size,
    knows_other_items,
    other_parameter_data,
    plain_config,
    save_checkpoint,
)
from recbole_compress.trainers.quantization_job import QuantizationJob
from recbole_compress.trainers.quantization_recipes import recipe_named
from recbole_compress.trainers.quantization_settings import SPEC_KEYS, file_limit, spec_of

__all__ = ["Quantization", "quantize", "quantize_checkpoint", "quantized_path"]

OPTIONS = ("recipe", "max_bytes", *SPEC_KEYS.values())


class Quantization(NamedTuple):
    """What :func:`quantize_checkpoint` did.

    Attributes:
        path: The file of packed integers.
        report: What became of every parameter.
        model: The packed model.
        config: Its settings.
        work: ``passes`` over made-up (or real) sequences, ``sequences`` shown, ``seconds`` spent by
            the recipe, an interrupted run before this one included.
        generator: Of the recipe ``adversarial``: what made the sequences, as its last turn left it.
            The file holds nothing of it.
    """

    path: str
    report: QuantizationReport
    model: Any
    config: Config
    work: dict[str, float]
    generator: NextItemModel | None = None


def quantize(arguments: list[str]) -> None:
    """The command: ``CHECKPOINT [--weight-bits=4 ...] [-o OUT.pth]``."""
    path, out, settings = _read(arguments)
    with naming_options(settings, own=OPTIONS), progress_on_standard_error():
        done = quantize_checkpoint(path, out, **settings)
    print(done.report)
    work = done.work
    print(
        f"{done.path}: {os.path.getsize(done.path):,} bytes with its settings and the catalogue, "
        f"{done.config['quantization_recipe']} "
        f"took {work['seconds']:.1f} s, {counted(int(work['passes']), 'pass', 'passes')}, "
        f"{counted(int(work['sequences']), 'sequence')}"
    )


def quantize_checkpoint(path: str, out: str | None = None, /, **settings: Any) -> Quantization:
    """Quantize the model of a checkpoint and write it.

    Args:
        path: Checkpoint of a full-precision model, of this package or of RecBole.
        out: Where the quantized one goes; None for ``X.quantized.pth`` beside ``X.pth``.
        settings: Config keys and values that differ from the checkpoint's.

    Raises:
        CheckpointError: The checkpoint cannot be used: missing, damaged, holding more than data,
            without an item table, quantized already; or ``out`` could not be written.
        ConfigError: An unknown model, setting or recipe; an ``out`` that is ``path``, or where
            nothing can be written.
        QuantizationError: Bits or groups that cannot be; numbers that are not finite; a
            ``quantization_max_bytes`` below the smallest file there can be.
            In all of these nothing is written.
    """
    out = out or quantized_path(path)
    keep_input(path, out)
    check_writable(out)
    settings = writing_beside(out, settings)
    restored = model_alone(path, **settings)
    if "quantization" in restored.state:
        raise CheckpointError(
            f"{path}: is quantized already; give the full-precision checkpoint it was made from"
        )
    config, model = restored.config, restored.model
    if config["df_resume"]:
        keep_input(config["df_resume"], out)
    for name, parameter in model.named_parameters():  # those that stay as they are as well
        check_numbers(parameter, name)
    spec, recipe = spec_of(config), recipe_named(config["quantization_recipe"])
    if not any(target.is_table for target in targets(model, spec)):
        raise CheckpointError(f"{path}: {config['model']} has no item table to quantize")
    recipe.check(model, config)
    sort_item_blocks_(model)
    init_seed(config["seed"], config["reproducibility"])
    start = time.perf_counter()
    if limit := file_limit(config):
        with given_threads(config, settings):
            spec = spec_within(model, spec, config, limit, lambda s: _file_size(restored, s))
    job = QuantizationJob(
        model,
        spec,
        config,
        (lambda: _train_loader(path, settings, restored)) if recipe.needs_data else None,
        lambda: _drawn_again(restored),
        restored.state.get("item_map_sha256"),
    )
    with given_threads(config, settings):
        done = recipe.quantize(job)
    work = {
        "passes": done.passes,
        "sequences": done.sequences,
        "seconds": done.seconds_before + time.perf_counter() - start,
    }
    model.eval()
    freeze_(model)
    save_checkpoint(_state(restored, spec, work), out)
    if done.leftover is not None:
        os.unlink(done.leftover)
    return Quantization(out, done.report, model, config, work, done.generator)


def quantized_path(path: str) -> str:
    """Where the quantized model of a checkpoint goes by itself.

    Example:
        >>> quantized_path("saved/X.pth")
        'saved/X.quantized.pth'
    """
    return os.path.splitext(path)[0] + ".quantized.pth"


def _state(restored: Restored, spec: QuantizationSpec, work: dict[str, float]) -> dict[str, Any]:
    model, config = restored.model, restored.config
    return {
        "config": plain_config(config),
        "state_dict": model.state_dict(),
        "other_parameter": other_parameter_data(model),
        "item_map_sha256": restored.state.get("item_map_sha256"),
        "train_rows_sha256": restored.state.get("train_rows_sha256"),
        "catalogue": restored.catalogue,
        "quantization": {
            **manifest(model),
            "spec": dataclasses.asdict(spec),
            "recipe": config["quantization_recipe"],
            "work": work,
        },
    }


def _file_size(restored: Restored, spec: QuantizationSpec) -> int:
    """What the file takes under a spec, but for a few bytes of what the recipe has to tell."""
    model = copy.deepcopy(restored.model)
    quantize_(model, spec)
    freeze_(model)
    nothing_done = {"passes": 0, "sequences": 0, "seconds": 0.0}
    return checkpoint_size(_state(restored._replace(model=model), spec, nothing_done))


def _drawn_again(restored: Restored) -> Any:
    """The model with other random weights than those that its own training began with."""
    config = restored.config
    init_seed((config["seed"] + 1) % 2**32, config["reproducibility"])
    model = made_anew(config, restored.catalogue)
    init_seed(config["seed"], config["reproducibility"])
    return model


def _train_loader(path: str, settings: dict[str, Any], restored: Restored) -> Any:
    """The train split of the checkpoint's own data set.

    Raises:
        CheckpointError: A data set of other items than the model knows.
    """
    config = rebuilt_config(restored.state, path, **settings)
    train_data = prepare_data(config, load_data(config))[0]
    noted, n_items = restored.state.get("item_map_sha256"), restored.catalogue["n_items"]
    if knows_other_items(noted, split_of(train_data), unknown=False, n_items=n_items):
        raise CheckpointError(
            f"{path}: knows other items than data set {config['dataset']!r} as loaded here; "
            f"quantization_recipe={config['quantization_recipe']} needs the data it was trained "
            "on, with the same filters"
        )
    return train_data


def _read(arguments: list[str]) -> tuple[str, str | None, dict[str, str]]:
    """Checkpoint, output and settings; ``--group-size`` is short for its config key."""
    usage = "recbole-compress quantize CHECKPOINT --weight-bits=4 --table-bits=4 -o OUT.pth"
    path, out, given = read_file_arguments(arguments, usage)
    known = declared_in(overall_yaml())
    long = {key: f"quantization_{key}" for key in given}
    return path, out, {long[k] if long[k] in known else k: text for k, text in given.items()}
