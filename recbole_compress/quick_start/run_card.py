"""The card of a run that has ended: measured, written and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_compress.distributed.group import from_first, gathered
from recbole_compress.distributed.place import here
from recbole_compress.quick_start.pretraining import pretraining_report
from recbole_compress.quick_start.sample_requests import sample_requests
from recbole_compress.reports.card import build_card, card_path_for, write_card
from recbole_compress.reports.environment import peak_gpu_bytes, peak_rss_bytes
from recbole_compress.reports.latency import request_latency
from recbole_compress.reports.table import card_table

__all__ = ["card_of_run"]


def card_of_run(
    trainer: Any,
    network: Any,
    metrics: Mapping[str, Any],
    splits: Sequence[Any],
    checkpoint: str | None,
) -> tuple[dict[str, Any], str | None]:
    """What the run made and what it took; all of its processes are to ask together.

    Args:
        trainer: After training.
        network: What it trained.
        metrics: By split, and what else was measured.
        splits: The data sets for training, validation and test.
        checkpoint: Path of the network's; None if nothing was written.

    Returns:
        The card, and where it was written; None for nowhere.
    """
    config = trainer.config
    train_split, valid_split, test_split = splits
    training = _training(trainer)
    requests = sample_requests(test_split, valid_split)

    def measure() -> tuple[dict[str, Any], str | None]:
        card = build_card(
            network,
            config,
            metrics=metrics,
            training=training,
            latency_ms=request_latency(network, *requests),
            files={"checkpoint": checkpoint, "artifact": None, **_first_phase_file(config)},
            pretraining=pretraining_report(config, train_split),
            choices=trainer.choices(config),
        )
        card_path = config["card_path"] or (checkpoint and card_path_for(checkpoint))
        if card_path:
            write_card(card, card_path)
        trainer.logger.info("\n" + card_table(card, card_path))
        return card, card_path

    return from_first(measure)


def _training(trainer: Any) -> dict[str, Any]:
    """Time and memory, over all processes."""
    peaks = {
        name: [peak for peak in gathered(of_one) if peak is not None]
        for name, of_one in (
            ("peak_rss_bytes", peak_rss_bytes()),
            ("peak_gpu_bytes", peak_gpu_bytes()),
        )
    }
    return {
        "seconds": trainer.seconds,
        "epochs": trainer.epochs_done,
        "seconds_per_epoch": trainer.seconds / max(1, trainer.epochs_done),
        **{name: sum(found) if found else None for name, found in peaks.items()},
        "processes": here().world_size,
    }


def _first_phase_file(config: Any) -> dict[str, str]:
    paths = {"teacher": config["teacher_path"], "pretrained": config["pretrained"]}
    return {name: path for name, path in paths.items() if path}
