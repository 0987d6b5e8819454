"""The compression card: what one run chose, weighed, cost and reached, as one JSON file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor

from recbole_compress.changed_defaults import CHANGED_DEFAULTS
from recbole_compress.errors import CheckpointError
from recbole_compress.files import replacing
from recbole_compress.models import CompressedRecommender
from recbole_compress.reports.environment import commit, environment
from recbole_compress.reports.macs import macs_per_request
from recbole_compress.reports.size import count_storage, item_tensors, reference_bytes

__all__ = [
    "SCHEMA",
    "build_card",
    "card_path_for",
    "evaluation_card_for",
    "validate_card",
    "write_card",
]

SCHEMA = 1

# All fields of a card; within a group an absent field is None. Groups of None hold any names.
FIELDS: dict[str, tuple[str, ...] | None] = {
    "schema": None,
    "model": None,
    "dataset": None,
    "seed": None,
    "choices": (
        "item_embedding",
        "backbone",
        "layer_sharing",
        "item_head",
        "weight_bits",
        "table_bits",
        "activation_bits",
        "recipe",
        "training_targets",
    ),
    "n_items": None,
    "parameters": ("item_input", "item_output", "backbone", "total"),
    "size_bytes": ("item_input", "item_output", "backbone", "total", "file"),
    "reference_bytes": ("tied", "untied"),
    "compression_ratio": ("tied", "untied"),
    "macs_per_request": ("encode", "score", "reference_score"),
    "metrics": ("valid", "test"),
    "reference_metrics": None,
    "training": (
        "seconds",
        "epochs",
        "seconds_per_epoch",
        "peak_rss_bytes",
        "peak_gpu_bytes",
        "processes",
    ),
    "latency_ms": ("batch_size", "k", "p50", "p95", "runtime"),
    "files": ("checkpoint", "artifact"),
    "environment": ("python", "torch", "recbole", "numpy", "cpu", "gpu", "threads"),
    "commit": None,
}


def build_card(
    model: SequentialRecommender,
    config: Any,
    metrics: Mapping[str, Mapping[str, float] | None] | None = None,
    training: Mapping[str, float | None] | None = None,
    latency_ms: Mapping[str, Any] | None = None,
    files: Mapping[str, str | None] | None = None,
    reference_metrics: Mapping[str, Any] | None = None,
    choices: Mapping[str, Any] | None = None,
    pretraining: Mapping[str, Any] | None = None,
    quantization: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure ``model`` and put everything that is known of a run together.

    What is not given or could not be measured is None. Numbers that JSON does not have (NaN and
    the infinities) are None too.

    Args:
        model: A model of this package or one of RecBole's sequential models.
        config: The configuration it was made from.
        metrics: Under ``valid`` and ``test``: RecBole's results.
        training: ``seconds``, ``epochs``, ``seconds_per_epoch``, ``processes``, and
            ``peak_rss_bytes`` and ``peak_gpu_bytes``: each process's most memory, added up.
        latency_ms: From :func:`~recbole_compress.reports.latency.request_latency`.
        files: ``checkpoint`` and ``artifact``; of an artifact the size on disk is what is compared.
        reference_metrics: Results of the uncompressed counterpart.
        choices: What differs from, or adds to, the choices that the model itself tells.
        pretraining: Of a model that was trained on another data set first: that ``dataset``, its
            ``seconds`` and ``epochs``, ``parameters`` and ``size_bytes`` of the model then. A card
            has this group for such models only.
        quantization: Of a quantized model: its ``recipe`` and what that took, ``passes`` of
            training, ``sequences`` shown, ``seconds``. A card has this group for such models only.

    Returns:
        The card; :func:`write_card` saves it.
    """
    size = count_storage(model)
    artifact = (files or {}).get("artifact")
    file_bytes = os.path.getsize(artifact) if artifact and os.path.exists(artifact) else None
    reference = reference_bytes(model, config)
    known = {
        "schema": SCHEMA,
        "model": config["model"],
        "dataset": config["dataset"],
        "seed": config["seed"],
        "choices": {**_choices(model, config), **(choices or {})},
        "n_items": model.n_items - 1,  # real ones: id 0 is padding
        "parameters": size.parameters.as_dict(),
        "size_bytes": {**size.size_bytes.as_dict(), "file": file_bytes},
        "reference_bytes": reference,
        "compression_ratio": {
            head: None if dense is None else dense / (file_bytes or size.size_bytes.total)
            for head, dense in reference.items()
        },
        "macs_per_request": macs_per_request(model, config["MAX_ITEM_LIST_LENGTH"]),
        "metrics": {split: _lower(result) for split, result in (metrics or {}).items()},
        "reference_metrics": reference_metrics,
        "training": training,
        "latency_ms": latency_ms,
        "files": files,
        "environment": environment(),
        "commit": commit(),
    }
    card = {name: _complete(known[name], parts) for name, parts in FIELDS.items()}
    for name, group in (("pretraining", pretraining), ("quantization", quantization)):
        if group:
            card[name] = group
    return _strict(card)


def card_path_for(checkpoint: str) -> str:
    """Where the card of a checkpoint or artifact lies unless ``card_path`` says otherwise.

    Example:
        >>> card_path_for("saved/CpRecNextItNet.pth")
        'saved/CpRecNextItNet.card.json'
    """
    return os.path.splitext(checkpoint)[0] + ".card.json"


def evaluation_card_for(path: str) -> str:
    """Where the card of a file's own evaluation lies.

    Another one for each kind of file, though a model and its export may share a name.

    Example:
        >>> evaluation_card_for("saved/a.pth"), evaluation_card_for("a.onnx")
        ('saved/a.evaluation.card.json', 'a.onnx.evaluation.card.json')
    """
    return card_path_for(path.removesuffix(".pth") + ".evaluation.pth")


def write_card(card: Mapping[str, Any], path: str) -> None:
    """Write ``card`` under a temporary name beside ``path``, then rename it.

    Raises:
        CheckpointError: The file cannot be written. What was there before still is, and nothing
            half-written stays behind.
    """
    text = json.dumps(_strict(card), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        with replacing(path) as file:
            file.write(text)
    except OSError as error:
        raise CheckpointError(
            f"card_path={path}: the card cannot be written ({error.strerror}); make room or choose "
            "another place, the checkpoint itself is not affected"
        ) from error


def validate_card(card: Mapping[str, Any]) -> None:
    """Check that ``card`` has every field, is strict JSON and does not contradict itself.

    Raises:
        ValueError: Naming everything that is wrong.
    """
    wrong = list(_contradictions(card))
    if wrong:
        raise ValueError("not a sound compression card: " + "; ".join(wrong))


def _choices(model: SequentialRecommender, config: Any) -> dict[str, Any]:
    full_precision = {"weight_bits": 32, "table_bits": 32, "activation_bits": 32}
    if isinstance(model, CompressedRecommender):
        chosen = dict(model.choices)
        for axis in ("layer_sharing", "repeats"):  # where an older config says nothing
            chosen[axis] = chosen.get(axis) or "none"
        chosen |= {k: config[k] for k, each in CHANGED_DEFAULTS.items() if each.is_read(config)}
        return {**chosen, **full_precision, "recipe": config["recipe"] or "cross_entropy"}
    tables, output = item_tensors(model)
    # A bias per item leaves the head tied; a table of its own does not.
    own_table = any(tensor.dim() > 1 for tensor in output)
    return {
        "item_embedding": "dense" if tables else "none",
        "backbone": config["model"].lower(),
        "layer_sharing": "none",
        "item_head": "untied" if own_table else ("tied" if tables else "none"),
        **full_precision,
        "recipe": {"CE": "cross_entropy"}.get(config["loss_type"], config["loss_type"]),
        "training_targets": "last",
    }


def _lower(result: Mapping[str, float] | None) -> dict[str, float] | None:
    return None if result is None else {name.lower(): value for name, value in result.items()}


def _complete(group: Any, parts: tuple[str, ...] | None) -> Any:
    """``group`` with every known field, in their order, and whatever else it brings."""
    if parts is None:
        return group
    group = group or {}
    return {**{part: group.get(part) for part in parts}, **group}


def _strict(value: Any) -> Any:
    """``value`` in the types that JSON has."""
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if isinstance(value, (np.ndarray, Tensor)):
        return _strict(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)


def _contradictions(card: Mapping[str, Any]) -> Iterator[str]:
    if card.get("schema") != SCHEMA:
        yield f"schema={card.get('schema')!r}, expected {SCHEMA}"
    for name, parts in FIELDS.items():
        if name not in card:
            yield f"{name} is missing"
            return
        missing = [part for part in parts or () if part not in (card[name] or {})]
        if missing:
            yield f"{name} lacks {', '.join(missing)}"
            return
    try:
        json.dumps(card, allow_nan=False)
    except (TypeError, ValueError) as error:
        yield f"not strict JSON ({error})"
    for name in ("parameters", "size_bytes"):
        group = card[name]
        numbers = [group[part] for part in ("item_input", "item_output", "backbone")]
        if group["total"] != sum(numbers) or min(numbers) < 0:
            yield f"{name}: total={group['total']} is not the sum of {numbers}"
    compared = card["size_bytes"]["file"] or card["size_bytes"]["total"]
    for head, dense in card["reference_bytes"].items():
        ratio = card["compression_ratio"][head]
        if dense is not None and not math.isclose(ratio, dense / compared, rel_tol=1e-9):
            yield f"compression_ratio.{head}={ratio} is not {dense} / {compared}"
    for split, result in card["metrics"].items():
        for name in result or {}:
            if name != name.lower():
                yield f"metrics.{split}: {name!r} is not lower case"
