"""``recbole-compress export CHECKPOINT -o model.onnx``: a trained model as one file."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
from collections.abc import Mapping
from typing import Any

import torch
from recbole.utils.argument_list import dataset_arguments

from recbole_compress._version import __version__
from recbole_compress.arguments import read_file_arguments
from recbole_compress.byte_sizes import bytes_of
from recbole_compress.config.values import parse_value
from recbole_compress.errors import (
    ConfigError,
    DataError,
    ExportError,
    QuantizationError,
    RecBoleCompressError,
    needs_extra,
)
from recbole_compress.files import check_writable, keep_input
from recbole_compress.near_names import did_you_mean
from recbole_compress.quantization import QuantizationSpec
from recbole_compress.quantization.specs import SCALE_DTYPES
from recbole_compress.quick_start.from_checkpoint import (
    Restored,
    made_anew,
    model_alone,
    rebuilt_config,
    settings_of_model,
)
from recbole_compress.quick_start.host_models import dataset_class
from recbole_compress.quick_start.portable_settings import portable
from recbole_compress.quick_start.progress import progress_on_standard_error
from recbole_compress.reports.card import card_path_for, evaluation_card_for
from recbole_compress.trainers.bit_budget import spec_within
from recbole_compress.trainers.checkpoint import item_map_fingerprint, knows_other_items

__all__ = ["export", "export_checkpoint"]

FULL, HALF = 32, 16
BITS = (FULL, HALF, *range(8, 1, -1))
# Others are unpacked by nodes of their own, and to these, when a file is loaded.
_OF_OPERATORS = (2, 4, 8)
OPTIONS = ("table_bits", "weight_bits", "max_bytes", "k", "all_scores", "tokens")
# Of the config. All else was decided when the model was made: it would change it, or nothing.
SETTINGS = (
    *("model", "model_classes", "data_path", "dataset", "split_files", "config_files"),
    "exclude_history",
)


def export(arguments: list[str]) -> None:
    """The command: ``CHECKPOINT -o FILE.onnx [--table-bits=4] [--max-bytes=800kB] ...``."""
    usage = "recbole-compress export CHECKPOINT -o model.onnx [--table-bits=4] [--max-bytes=800kB]"
    switches = ("all_scores", "exclude_history")
    path, out, given = read_file_arguments(arguments, usage, switches=switches)
    settings: dict[str, Any] = dict(given)
    options = {key: parse_value(settings.pop(key)) for key in OPTIONS if key in settings}
    out = out or os.path.splitext(path)[0] + ".onnx"
    with progress_on_standard_error():
        done = export_checkpoint(path, out, **options, **settings)
    deviation = done.deviation
    print(
        f"{done.path}: {done.size_bytes:,} bytes\n"
        f"compared with the model on {deviation.sequences} sequences: largest deviation of a score "
        f"{deviation.largest:.2g} of the range of scores, {deviation.same_items:.1%} of the "
        "recommended items at the same place"
    )
    if done.remark is not None:
        print(done.remark)


def export_checkpoint(
    path: str | os.PathLike,
    out: str | os.PathLike,
    /,
    *,
    table_bits: int = FULL,
    weight_bits: int = FULL,
    max_bytes: int | str | None = None,
    k: int | None = None,
    all_scores: bool = False,
    tokens: bool = True,
    **settings: Any,
) -> Any:
    """Export the model of a checkpoint; the file is compared with the model before it is there.

    Args:
        path: A checkpoint of this package or of RecBole, quantized or not. The integers of a
            quantized one are those of the file, bit for bit.
        out: The file.
        table_bits: Of the item tables: 32, 16, or 8 to 2.
        weight_bits: Of all other matrices: 32, or 8 to 2.
        max_bytes: The file takes at most so many, as ``800kB`` or a number: every tensor gets the
            bits, 2, 4 or 8, at most ``table_bits`` and ``weight_bits``, with which the model
            changes least.
        k: Items returned where nothing else is asked for; None for 10, or all if they are fewer.
        all_scores: Add an output with the scores of all items.
        tokens: Let the item tokens travel with the file, which needs the data set.
        settings: Config keys that differ from the checkpoint's: where its data set is and how it
            is read, and ``exclude_history``, which becomes what the file does if nothing is asked.

    Returns:
        :class:`~recbole_compress.export.writing.Exported`.

    Raises:
        RecBoleCompressError: A checkpoint, a data set or a setting that cannot be used; a file that
            does not say what the model says. Then none is left.
    """
    with needs_extra("export", ExportError):
        from recbole_compress.export.encoder import Traces
        from recbole_compress.export.integers import quantized_copy, read_numbers_of
        from recbole_compress.export.writing import export_model
    path, out = os.fspath(path), os.fspath(out)
    keep_input(path, out)
    check_writable(out)
    for key in settings:
        if key not in (*SETTINGS, *dataset_arguments):
            raise ConfigError(
                f"{key}={settings[key]}: not read by export, which takes the model as it is; "
                + did_you_mean(key, (*OPTIONS, *SETTINGS))
            )
    for name, bits in (("table_bits", table_bits), ("weight_bits", weight_bits)):
        if bits not in BITS or (name == "weight_bits" and bits == HALF):
            raise ConfigError(f"{name}={bits!r}: choose one of {', '.join(map(str, BITS))}")
    for name, value in (("all_scores", all_scores), ("tokens", tokens)):
        if not isinstance(value, bool):
            raise ConfigError(f"{name}={value!r}: choose True or False")
    if isinstance(k, bool) or not isinstance(k, int | None):
        raise ConfigError(f"k={k!r}: choose a whole number of items")
    limit = None if max_bytes is None else bytes_of(max_bytes, "max_bytes")
    if limit and table_bits == HALF:
        raise ConfigError(
            "table_bits=16: max_bytes chooses 2, 4 or 8 bits; leave one of the two out"
        )
    settings = {**settings, "use_gpu": False}
    restored = model_alone(path, **settings)
    described = _described(restored, path, tokens, settings)
    if limit or min(table_bits, weight_bits) < FULL:
        described["metrics"] = None  # they are of the numbers before
    in_common = {
        "k": min(10, restored.model.n_items - 1) if k is None else k,
        "all_scores": all_scores,
        "exclude_history": described["configuration"]["exclude_history"],
        "traces": Traces(),
    }
    model, quantized = restored.model, None
    if "quantization" in restored.state:
        if (table_bits, weight_bits) != (FULL, FULL) or limit:
            raise ConfigError(
                f"{path}: is quantized already and is exported with the integers it has; "
                "leave table_bits, weight_bits and max_bytes out"
            )
        quantized = model
        torch.manual_seed(0)
        model = made_anew(restored.config, restored.catalogue)
        read_numbers_of(quantized, model)
        described["bits"] = restored.state["quantization"]["spec"]
    elif limit or min(table_bits, weight_bits) < HALF:
        of_tables = FULL if table_bits == HALF else table_bits
        if limit:
            spec = _spec_within(restored, limit, of_tables, weight_bits, out, in_common, described)
            described["bits"] = _at_most(spec, limit)
        else:
            spec = QuantizationSpec(weight_bits, of_tables)
        quantized = quantized_copy(model, spec)
        read_numbers_of(quantized, model)
    described.setdefault("bits", {"table_bits": table_bits, "weight_bits": weight_bits})
    activations = described["bits"].get("activation_bits", FULL)
    described["bits"] = {**described["bits"], "activation_bits": FULL}
    done = export_model(
        model.eval(),
        out,
        quantized=quantized,
        half=table_bits == HALF,
        described=described,
        **in_common,
    )
    if activations == FULL:
        return done
    return done._replace(
        remark=f"activation_bits={activations} of the checkpoint: the file does not round "
        "activations; compared with a model that does not either, whose metrics may differ"
    )


def _spec_within(
    restored: Restored,
    limit: int,
    table_bits: int,
    weight_bits: int,
    out: str,
    in_common: dict[str, Any],
    described: Mapping[str, Any],
) -> QuantizationSpec:
    """The bits of every tensor with which the file takes no more than ``limit``."""
    from recbole_compress.export.integers import quantized_copy, read_numbers_of
    from recbole_compress.export.writing import onnx_model_of

    def file_size(spec: QuantizationSpec) -> int:
        model, quantized = copy.deepcopy(restored.model), quantized_copy(restored.model, spec)
        read_numbers_of(quantized, model)
        says = {**described, "bits": {**_at_most(spec, limit), "activation_bits": FULL}}
        made, *_ = onnx_model_of(model, out, quantized=quantized, described=says, **in_common)
        return made.ByteSize()

    def smallest(scale_dtype: str) -> float:
        try:
            return file_size(QuantizationSpec(2, 2, scale_dtype=scale_dtype))
        except QuantizationError:  # numbers that short scales cannot hold
            return math.inf

    # Short scales take casts, which weigh more than they save in the graph of a tiny model.
    dtype = min(SCALE_DTYPES, key=smallest)
    most = QuantizationSpec(min(weight_bits, 8), min(table_bits, 8), scale_dtype=dtype)
    chosen = spec_within(
        restored.model, most, restored.config, limit, file_size, "max_bytes", _OF_OPERATORS
    )
    bits = [f"{name} {given['bits']}" for name, given in chosen.overrides.items()]
    logging.getLogger().info(f"max_bytes={limit}: bits of {', '.join(bits) or 'all as given'}")
    return chosen


def _at_most(spec: QuantizationSpec, limit: int) -> dict[str, int]:
    """What a file says of bits that were chosen tensor by tensor."""
    most = {"table_bits": spec.table_bits, "weight_bits": spec.weight_bits}
    return {**most, "max_bytes": limit}


def _described(
    restored: Restored, path: str, tokens: bool, settings: Mapping[str, Any]
) -> dict[str, Any]:
    config = restored.config
    configuration = portable(settings_of_model(restored.state))
    exclude_history = bool(config["exclude_history"])
    as_measured = exclude_history == bool(restored.state["config"]["exclude_history"])
    configuration["exclude_history"] = exclude_history
    described: dict[str, Any] = {
        "model": config["model"],
        "dataset": config["dataset"],
        "configuration": json.loads(json.dumps(configuration, default=str)),
        "metrics": _metrics_beside(path) if as_measured else None,
        **{key: restored.state.get(key) for key in ("item_map_sha256", "train_rows_sha256")},
        "written_by": f"recbole_compress {__version__}",
    }
    if tokens:
        dataset = _dataset_of(restored, path, settings)
        described["item_tokens"] = list(map(str, dataset.field2id_token[dataset.iid_field]))
        described["item_map_sha256"] = item_map_fingerprint(dataset)
        if hasattr(restored.model, "user_embedding"):
            described["user_tokens"] = list(map(str, dataset.field2id_token[dataset.uid_field]))
    return described


def _dataset_of(restored: Restored, path: str, settings: Mapping[str, Any]) -> Any:
    """The data set, for its tokens.

    Raises:
        DataError: It is not there, or knows other items than the checkpoint.
    """
    # Not the config of the model alone, which looks for no file of a data set.
    config = rebuilt_config(restored.state, path, **settings)
    try:
        dataset = dataset_class(config)(config)
    except (RecBoleCompressError, OSError, ValueError) as error:
        raise DataError(
            f"data set {config['dataset']!r}, for the item tokens: {error}; give "
            "--data_path=FOLDER, or --tokens=False to export without them"
        ) from error
    noted, n_items = restored.state.get("item_map_sha256"), restored.catalogue["n_items"]
    if knows_other_items(noted, dataset, unknown=False, n_items=n_items):
        raise DataError(
            f"{path}: knows other items than data set {config['dataset']!r} as loaded here; give "
            "the data it was trained on, or --tokens=False to export without item tokens"
        )
    return dataset


def _metrics_beside(path: str) -> Mapping[str, Any] | None:
    """From the card of its run or of its evaluation, if one lies beside a checkpoint."""
    for card in (card_path_for(path), evaluation_card_for(path)):
        try:
            with open(card, encoding="utf-8") as file:
                return json.load(file)["metrics"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None
