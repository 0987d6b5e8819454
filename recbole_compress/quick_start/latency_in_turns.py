"""Latency of several finished runs in one process, taking turns, so that their ratios are fair.

    python -m recbole_compress.quick_start.latency_in_turns JOB.json RESULT.json

``JOB.json`` holds ``checkpoints``, by name, and the ``model_classes`` of the user's own among
them; ``recbole-compress compare --latency`` writes it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from recbole_compress.config.model_names import know_classes
from recbole_compress.errors import RecBoleCompressError
from recbole_compress.files import replacing
from recbole_compress.quick_start.restored import restored_model
from recbole_compress.reports.environment import environment
from recbole_compress.reports.latency import request_latency

__all__ = ["latency_in_turns"]

ROUNDS = 7
SECONDS = 1.0  # per model and round, at most


def latency_in_turns(
    checkpoints: Mapping[str, str], rounds: int = ROUNDS, seconds: float = SECONDS
) -> dict[str, Any]:
    """Time single requests of several models, round by round; every round begins with another one.

    Other work on the machine comes and goes; whatever it is, all models meet the same of it.

    Args:
        checkpoints: Name to checkpoint.
        rounds: How often every model has its turn.
        seconds: How long a turn may take.

    Returns:
        Per name: ``checkpoint`` (file name), ``p50`` and ``p95`` in milliseconds (medians over the
        rounds), ``p50_of_rounds``, and what :func:`request_latency` says besides. A model that
        cannot answer is left out.
    """
    default_threads = torch.get_num_threads()
    models = {name: restored_model(path) for name, path in checkpoints.items()}
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in models}
    names = list(models)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            config, model, requests = models[name]
            torch.set_num_threads(config["threads"] or default_threads)
            measured = request_latency(model, *requests, budget_seconds=seconds)
            if measured is not None:
                turns[name].append(measured)
    return {
        name: {
            **measured[0],
            "p50": float(np.median([turn["p50"] for turn in measured])),
            "p95": float(np.median([turn["p95"] for turn in measured])),
            "p50_of_rounds": [turn["p50"] for turn in measured],
            "threads": models[name][0]["threads"] or default_threads,
            "checkpoint": os.path.basename(checkpoints[name]),
        }
        for name, measured in turns.items()
        if measured
    }


def main(job: str, result: str) -> int:
    logging.basicConfig(level=logging.WARNING)
    with open(job, encoding="utf-8") as file:
        asked = json.load(file)
    try:
        know_classes(asked["model_classes"])
        entries = latency_in_turns(asked["checkpoints"])
    except RecBoleCompressError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with replacing(result) as file:
        file.write(json.dumps({"entries": entries, "environment": environment()}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
