"""``recbole-compress evaluate FILE``: RecBole's evaluators on a finished model and its data set."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from recbole_compress.arguments import naming_options, read_file_arguments
from recbole_compress.config import Config
from recbole_compress.data.loaders import split_of
from recbole_compress.data.split_rows import rows_fingerprint
from recbole_compress.errors import CheckpointError, ConfigError, needs_extra
from recbole_compress.files import check_writable, keep_input
from recbole_compress.near_names import did_you_mean
from recbole_compress.quick_start.final_results import final_results
from recbole_compress.quick_start.from_checkpoint import model_of, rebuilt_config, writing_beside
from recbole_compress.quick_start.host_models import trainer_class
from recbole_compress.quick_start.prepared_data import prepare_data
from recbole_compress.quick_start.pretraining import load_data
from recbole_compress.quick_start.sample_requests import sample_requests
from recbole_compress.quick_start.threads import given_threads
from recbole_compress.reports.card import build_card, evaluation_card_for, write_card
from recbole_compress.reports.latency import request_latency
from recbole_compress.reports.table import card_table
from recbole_compress.trainers.checkpoint import knows_other_items, load_checkpoint
from recbole_compress.trainers.ranks import refuse_ranks

__all__ = ["READERS", "Subject", "evaluate", "evaluate_file"]


class Subject(NamedTuple):
    """A file that can be evaluated.

    Attributes:
        config: Settings of the run that it comes from.
        item_map_sha256: Of the items that it knows; None if that was not noted.
        model: From a train split to what RecBole's trainers evaluate.
        choices: What the card says of it beyond the settings, or instead of them.
        files: What the card says of its files.
        name: Of the model, for the card.
        train_rows_sha256: Of the rows that it was trained on; None if that was not noted.
        quantization: What the card says of how it was quantized; None where that is not known.
        amend: Changes a finished card, given requests ``(item_seq, length)``; None for as it is.
    """

    config: Config
    item_map_sha256: str | None
    model: Callable[[Any], Any]
    choices: dict[str, Any]
    files: dict[str, str | None]
    name: str
    train_rows_sha256: str | None = None
    quantization: dict[str, Any] | None = None
    amend: Callable[[dict[str, Any], tuple[Any, Any]], None] | None = None


def _checkpoint(path: str, settings: dict[str, Any]) -> Subject:
    state = load_checkpoint(path)
    config = rebuilt_config(state, path, **settings)
    packed = state.get("quantization")
    return Subject(
        config,
        state.get("item_map_sha256"),
        lambda train_split: model_of(config, train_split, state, path),
        quantized_choices(packed) if packed else {},
        {"checkpoint": path, "artifact": path if packed else None},
        f"DFQ{config['model']}" if packed else config["model"],
        state.get("train_rows_sha256"),
        _how_quantized(packed) if packed else None,
    )


def _artifact(path: str, settings: dict[str, Any]) -> Subject:
    with needs_extra("runtime", ConfigError):
        from recbole_compress.artifact.session import Session
    from recbole_compress.quick_start.artifact_subject import (
        answering_model,
        artifact_card,
        config_of,
    )

    session = Session(path)
    config = config_of(session, settings)
    bits = session.said("bits")
    return Subject(
        config,
        session.described.get("item_map_sha256"),
        lambda train_split: answering_model(session, config, train_split),
        # The graph rounds no activations, whatever its checkpoint did.
        {key: bits[key] for key in ("weight_bits", "table_bits") if key in bits}
        | {"activation_bits": 32},
        {"checkpoint": None, "artifact": path},
        session.said("model"),
        session.described.get("train_rows_sha256"),
        amend=lambda card, requests: artifact_card(card, path, requests),
    )


# By the file's ending; a new kind of file is one function here.
READERS: dict[str, Callable[[str, dict[str, Any]], Subject]] = {
    ".pth": _checkpoint,
    ".onnx": _artifact,
}


def _how_quantized(described: dict[str, Any]) -> dict[str, Any]:
    """What a card says of it, from what a quantized checkpoint says of itself."""
    work = described.get("work", {})
    return {"recipe": described["recipe"], "mean_bits": round(_mean_bits(described), 2), **work}


def _mean_bits(described: dict[str, Any]) -> float:
    """Over all numbers that are integers now."""
    bits = [
        (math.prod(each["shape"]), each["format"]["bits"])
        for each in described["parameters"].values()
        if each["same_as"] is None
    ]
    return sum(n * of_each for n, of_each in bits) / max(1, sum(n for n, _ in bits))


def quantized_choices(described: dict[str, Any]) -> dict[str, Any]:
    """Of a card, from what a quantized checkpoint says of itself; the mean of bits that differ
    from tensor to tensor.
    """
    spec = described["spec"]
    bits = {key: spec[key] for key in ("weight_bits", "table_bits", "activation_bits")}
    if any("bits" in given for given in spec["overrides"].values()):
        bits |= dict.fromkeys(("weight_bits", "table_bits"), round(_mean_bits(described), 1))
    return {**bits, "recipe": described["recipe"]}


def evaluate(arguments: list[str]) -> None:
    """The command: ``FILE [--data_path=...] [-o CARD.json] [--key=value ...]``."""
    usage = "recbole-compress evaluate FILE [--data_path=FOLDER] [-o CARD.json]"
    path, out, given = read_file_arguments(arguments, usage)
    settings: dict[str, Any] = dict(given)
    card_path = out or settings.pop("card_path", None) or evaluation_card_for(path)
    with naming_options(given):
        card = evaluate_file(path, card_path, **settings)
    print(card_table(card, card_path))


def evaluate_file(
    path: str,
    card_path: str | None = None,
    training: Mapping[str, Any] | None = None,
    reference_metrics: Mapping[str, Any] | None = None,
    /,
    **settings: Any,
) -> dict[str, Any]:
    """Evaluate a model on the valid and test split of the data set that it was trained on.

    Args:
        path: A checkpoint, quantized or not; or another kind of file out of :data:`READERS`.
        card_path: Where its card goes; None for nowhere.
        training: What the card says of how the model came about.
        reference_metrics: Of the full-precision model, for the card.
        settings: Config keys that differ from the run it comes from: ``data_path``, ``metrics``,
            ``topk``, ``eval_args``, ...

    Returns:
        The card, its ``metrics`` included.

    Raises:
        RecBoleCompressError: The file or the data set cannot be read, or they do not go together.
    """
    ending = os.path.splitext(path)[1]
    if ending not in READERS:
        raise ConfigError(f"{path}: cannot be evaluated, {did_you_mean(ending, READERS)}")
    if card_path:
        keep_input(path, card_path)
        check_writable(card_path)
    subject = READERS[ending](path, writing_beside(path, settings))
    if subject.config["ranks_path"]:
        refuse_ranks(subject.config)
    with given_threads(subject.config, settings):
        return _evaluated(subject, path, card_path, training, reference_metrics)


def _evaluated(
    subject: Subject,
    path: str,
    card_path: str | None,
    training: Mapping[str, Any] | None,
    reference_metrics: Mapping[str, Any] | None,
) -> dict[str, Any]:
    config = subject.config
    train_data, valid_data, test_data = prepare_data(config, load_data(config))
    split = split_of(train_data)
    if knows_other_items(subject.item_map_sha256, split, unknown=False):
        raise CheckpointError(
            f"{path}: knows other items than data set {config['dataset']!r} as loaded here; "
            "evaluate it on the data it was trained on, with the same filters"
        )
    if subject.train_rows_sha256 not in (None, rows_fingerprint(split)):
        logging.getLogger().warning(
            f"{path}: trained on other rows than those of the train split here, perhaps on some "
            "that it is tested on now; for its own split leave eval_args and filters as they were"
        )
    model = subject.model(split).to(config["device"])
    trainer = _only_evaluates(trainer_class(config))(config, model)
    trainer.eval_collector.data_collect(train_data)  # some metrics count items of the train split
    valid = trainer.evaluate(valid_data, load_best_model=False, show_progress=False)
    test, further = final_results(trainer, train_data, valid_data, test_data, load_best_model=False)
    requests = sample_requests(split_of(test_data), split_of(valid_data))
    card = build_card(
        model,
        config,
        metrics={"valid": valid, "test": test, **further},
        training=training,
        reference_metrics=reference_metrics,
        latency_ms=request_latency(model, *requests),
        files=subject.files,
        choices={**trainer_class(config).choices(config), **subject.choices},
        quantization=subject.quantization,
    )
    card["model"] = subject.name
    if subject.amend is not None:
        subject.amend(card, requests)
    if card_path:
        write_card(card, card_path)
    logging.getLogger().info("\n" + card_table(card, card_path))
    return card


def _only_evaluates(trainer: type) -> type:
    """A trainer without an optimizer: a packed model has nothing to train."""
    return type(trainer.__name__, (trainer,), {"_build_optimizer": lambda self, **kwargs: None})
