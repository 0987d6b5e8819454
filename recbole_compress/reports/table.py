"""Cards for human eyes: one as a short table, the choices of one in a line."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from recbole_compress.reports.readable import (
    UNKNOWN,
    byte_count,
    count,
    counted,
    number,
    scaled,
)

__all__ = ["card_table", "chosen"]

WIDTH = 100
LABEL = 15
GLUE = "\N{NO-BREAK SPACE}"  # textwrap does not break here


def card_table(card: Mapping[str, Any], card_path: str | None = None) -> str:
    """One card as a short table, at most 100 columns wide except for long paths.

    Args:
        card: From :func:`~recbole_compress.reports.card.build_card`.
        card_path: Where it was written, if it was.
    """
    sections = [
        [_title(card)],
        _line("choices", [f"{axis} {value}" for axis, value in card["choices"].items()]),
        _size_lines(card),
        _line("valid", _metrics(card["metrics"]["valid"])),
        _line("test", _metrics(card["metrics"]["test"])),
        *(
            _line(name.replace("_", ", "), _metrics(result))
            for name, result in card["metrics"].items()
            if name not in ("valid", "test")
        ),
        _line("pre-training", _pretraining(card["pretraining"])) if "pretraining" in card else [],
        _line("training", _training(card["training"])),
        _line("quantization", _quantization(card["quantization"]))
        if "quantization" in card
        else [],
        _line("latency", _latency(card["latency_ms"])),
        _line("multiply-adds", _macs(card["macs_per_request"])),
        *(_line(name, [path]) for name, path in card["files"].items() if path),
        _line("card", [card_path]) if card_path else [],
    ]
    return "\n".join(line for section in sections for line in section)


def chosen(choices: Mapping[str, Any]) -> str:
    """The four axes of a card's ``choices``, a pointer if there is one, and bits that are not 32.

    Example:
        >>> axes = {"item_embedding": "dense", "backbone": "sasrec", "layer_sharing": "none"}
        >>> chosen({**axes, "item_head": "tied", "table_bits": 4})
        'dense / sasrec / none / tied, table bits 4'
    """
    axes = ("item_embedding", "backbone", "layer_sharing", "item_head")
    parts = [" / ".join(str(choices[axis]) for axis in axes)]
    if choices.get("repeats") not in ("none", None):  # cards of before have none
        parts.append(str(choices["repeats"]))
    for name in ("weight_bits", "table_bits", "activation_bits"):
        if choices.get(name) not in (32, None):
            parts.append(f"{name.replace('_', ' ')} {choices[name]}")
    return ", ".join(parts)


def _title(card: Mapping[str, Any]) -> str:
    items = f"{count(card['n_items'])} items"
    return f"{card['model']} on {card['dataset']}, seed {card['seed']}, {items}"


def _size_lines(card: Mapping[str, Any]) -> list[str]:
    parameters, size = card["parameters"], card["size_bytes"]
    lines = [f"{'':{LABEL}}{'parameters':>12}{'size':>12}"]
    for part in ("item_input", "item_output", "backbone", "total"):
        label = part.replace("_", " ")
        lines.append(f"{label:{LABEL}}{count(parameters[part]):>12}{byte_count(size[part]):>12}")
    if size["file"] is not None:
        lines.append(f"{'file':{LABEL}}{'':>12}{byte_count(size['file']):>12}")
    for head, dense in card["reference_bytes"].items():
        if dense is None and any(card["reference_bytes"].values()):
            continue  # this model has no such counterpart
        ratio = number(card["compression_ratio"][head], ".2f")
        label = "uncompressed"
        lines.append(f"{label:{LABEL}}{head:>12}{byte_count(dense):>12}   {ratio} times as large")
    return lines


def _metrics(result: Mapping[str, Any] | None) -> list[str]:
    return [f"{name} {number(value, '.4f')}" for name, value in (result or {}).items()]


def _training(training: Mapping[str, Any]) -> list[str]:
    if training["seconds"] is None:
        return []  # not trained in this run
    several = (training.get("processes") or 1) > 1
    on_gpu = training.get("peak_gpu_bytes")
    return [
        f"{number(training['seconds'], '.1f')} s",
        counted(training["epochs"], "epoch"),
        f"{number(training['seconds_per_epoch'], '.2f')} s per epoch",
        f"peak memory {byte_count(training['peak_rss_bytes'])}",
        *([f"{byte_count(on_gpu)} on the GPU"] if on_gpu else []),
        *([f"{training['processes']} processes"] if several else []),
    ]


def _pretraining(pretraining: Mapping[str, Any]) -> list[str]:
    return [
        f"on {pretraining['dataset']}",
        f"{number(pretraining['seconds'], '.1f')} s",
        counted(pretraining["epochs"], "epoch"),
        f"{count(pretraining['parameters']['total'])} parameters",
        byte_count(pretraining["size_bytes"]["total"]),
    ]


def _quantization(quantization: Mapping[str, Any]) -> list[str]:
    return [
        quantization["recipe"],
        f"{number(quantization.get('mean_bits'), '.3g')} bits on average",
        f"{number(quantization.get('seconds'), '.1f')} s",
        counted(quantization.get("passes"), "pass", "passes"),
        counted(quantization.get("sequences"), "sequence"),
    ]


def _latency(latency: Mapping[str, Any]) -> list[str]:
    if latency["p50"] is None:
        return []
    return [
        f"p50 {latency['p50']:.2f} ms",
        f"p95 {number(latency['p95'], '.2f')} ms",
        f"top {latency['k']} for a batch of {latency['batch_size']} ({latency['runtime']})",
    ]


def _macs(macs: Mapping[str, Any]) -> list[str]:
    names = {"encode": "encode", "score": "score", "reference_score": "score of a dense table"}
    return [f"{name} {scaled(macs[key], '')}" for key, name in names.items()]


def _line(label: str, items: Sequence[str]) -> list[str]:
    """``label`` and its items, wrapped between the items only."""
    glued = [item.replace(" ", GLUE) for item in items]
    lines = textwrap.wrap(
        ", ".join(glued) or UNKNOWN,
        WIDTH,
        initial_indent=f"{label:{LABEL}}",
        subsequent_indent=" " * LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(GLUE, " ") for line in lines]
