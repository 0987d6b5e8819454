"""Accuracy, size and latency in one picture, one panel per data set.

Needs matplotlib (extra ``plot``), and nothing else of the package needs this file.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from recbole_compress.comparison.pareto import pareto_front
from recbole_compress.comparison.plot_labels import FAINT, INK, place_labels
from recbole_compress.comparison.tables import median_latency, metric_name
from recbole_compress.files import replacing
from recbole_compress.reports.readable import byte_count

__all__ = ["draw_pareto", "write_pareto"]

STYLE: Any = {
    "font.family": "DejaVu Sans",  # matplotlib brings it, so every machine draws the same
    "font.size": 9,
    "text.parse_math": False,  # a name may hold dollar signs
    "svg.fonttype": "path",
    "svg.hashsalt": "recbole_compress",  # the same ids in every run
    "axes.spines.top": False,
    "axes.spines.right": False,
}
PANEL = (5.6, 4.2)  # inches
COLUMNS = 2
AREA = 140.0  # square points of the slowest model's marker
LEAST_AREA = 12.0
NEAR = 0.9  # of the best value: what is as good as that is shown, however close the others are
NOTE_WIDTH = 64  # characters


def write_pareto(document: Mapping[str, Any], stem: Path) -> list[Path]:
    """Draw to ``<stem>.svg`` and ``<stem>.png``; the same document gives the same files.

    Returns:
        What was written; nothing where no data set has a finished entry.
    """
    with matplotlib.rc_context(STYLE):
        figure = draw_pareto(document)
        if figure is None:
            return []
        paths = [stem.parent / (stem.name + ending) for ending in (".svg", ".png")]
        for path, metadata in zip(
            paths, ({"Date": None, "Creator": None}, {"Software": None}), strict=True
        ):
            with replacing(str(path), "wb") as file:
                figure.savefig(file, format=path.suffix[1:], dpi=160, metadata=metadata)
    return paths


def draw_pareto(document: Mapping[str, Any]) -> Figure | None:
    """The figure: bytes (log) across, the metric up, the marker's area for the latency.

    Models that nobody beats in both size and accuracy are filled and joined by a line; bars are one
    standard deviation over seeds.
    """
    panels = [(name, dataset) for name, dataset in document["datasets"].items() if _points(dataset)]
    if not panels:
        return None
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    wide, high = _panel_size(max(len(_points(dataset)) for _, dataset in panels))
    figure = Figure(figsize=(wide * columns, high * rows), layout="constrained")
    FigureCanvasAgg(figure)  # to measure text with
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_axis_off()
    drawn = [
        (axis, dataset, _panel(axis, name, dataset))
        for axis, (name, dataset) in zip(axes.flat, panels, strict=False)
    ]
    # Only now is it settled where everything lies; labels go where there is room.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axis, _, points in drawn:
        place_labels(axis, points)
    return figure


def _panel_size(n_points: int) -> tuple[float, float]:
    """Inches; more models need more room for their names.

    Example:
        >>> _panel_size(8) == PANEL
        True
        >>> [round(side / of, 2) for side, of in zip(_panel_size(25), PANEL)]
        [1.45, 1.45]
    """
    larger = 1 + 0.03 * min(max(0, n_points - 10), 20)
    return PANEL[0] * larger, PANEL[1] * larger


class _Point:
    """One entry: where it stands, and how it is drawn."""

    def __init__(self, name: str, entry: Mapping[str, Any], metric: str) -> None:
        size, value = entry["size_bytes"], entry["metrics"]["test"][metric]
        self.name = name
        self.bytes = size["file"] or size["total"]
        self.value, self.deviation = value["mean"], value["std"] or 0.0
        self.latency = median_latency(entry)
        self.area = LEAST_AREA
        self.best = False


def _points(dataset: Mapping[str, Any]) -> list[_Point]:
    metric = dataset["metric"]
    return [
        _Point(name, entry, metric)
        for name, entry in dataset["entries"].items()
        if ((entry["metrics"]["test"] or {}).get(metric) or {}).get("mean") is not None
    ]


def _panel(axis, name: str, dataset: Mapping[str, Any]) -> list[_Point]:
    points = _points(dataset)
    front = pareto_front([p.bytes for p in points], [p.value for p in points])
    framed = _framed(points)
    # Sizes of markers tell something only where all that are shown have been timed.
    slowest = max(p.latency or 0.0 for p in points) if all(p.latency for p in framed) else 0.0
    for number, point in enumerate(points):
        point.best = number in front
        if slowest and point.latency:
            point.area = max(LEAST_AREA, AREA * point.latency / slowest)
    best = [points[number] for number in front]
    axis.plot([p.bytes for p in best], [p.value for p in best], color=INK, linewidth=1.1, zorder=2)
    for point in points:
        ink = INK if point.best else FAINT
        if point.deviation:
            axis.errorbar(
                point.bytes, point.value, point.deviation, color=ink, linewidth=0.8, zorder=1
            )
        axis.scatter(
            point.bytes,
            point.value,
            s=point.area,
            facecolor=INK if point.best else "white",
            edgecolor=ink,
            linewidth=1.1,
            zorder=3,
        )
    axis.set_xscale("log")
    _ticks(axis, framed)
    _note_below(axis, [point for point in points if point not in framed])
    axis.set_title(name, loc="left", fontweight="bold", fontsize=10)
    axis.set_xlabel("model size")
    axis.set_ylabel(f"{metric_name(dataset['metric'])} (test)")
    axis.grid(color="0.9", linewidth=0.6)
    axis.set_axisbelow(True)
    _explain(axis, slowest)
    return framed


def _framed(points: Sequence[_Point]) -> list[_Point]:
    """Without those so far below that the others would shrink to a line, such as a baseline."""
    framed = sorted(points, key=lambda point: point.value)
    while len(framed) > 3:
        lowest, *rest = framed
        near = lowest.value >= NEAR * rest[-1].value
        if near or rest[0].value - lowest.value <= rest[-1].value - rest[0].value:
            break
        framed = rest
    return [point for point in points if point in framed]


def _note_below(axis, points: Sequence[_Point]) -> None:
    if points:
        parts = [f"{p.name} ({byte_count(p.bytes)}, {p.value:.4f})" for p in points]
        note = textwrap.fill("below: " + ", ".join(parts), NOTE_WIDTH)
        axis.text(
            0.99, 0.02, note, transform=axis.transAxes, ha="right",
            va="bottom", fontsize=8, color="0.25", fontstyle="italic",
        )  # fmt: skip


def _ticks(axis, points: Sequence[_Point]) -> None:
    """Room for labels on all sides, and byte counts that are read at a glance."""
    low, high = min(p.bytes for p in points), max(p.bytes for p in points)
    margin = max((high / low) ** 0.12, 1.35, (4 * low / high) ** 0.5)
    axis.set_xlim(low / margin, high * margin)
    decades = math.log10(axis.get_xlim()[1] / axis.get_xlim()[0])
    steps = (1.0,) if decades > 3 else ((1.0, 3.0) if decades > 1.3 else (1.0, 2.0, 5.0))
    axis.xaxis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda size, _: byte_count(size)))
    axis.xaxis.set_minor_formatter(NullFormatter())
    bottom = min(p.value - p.deviation for p in points)
    top = max(p.value + p.deviation for p in points)
    height = (top - bottom) or abs(top) or 1.0
    axis.set_ylim(bottom - 0.14 * height, top + 0.16 * height)
    axis.yaxis.set_major_locator(MaxNLocator(6))


def _explain(axis, slowest: float) -> None:
    """Below the panel: what the markers mean, with two sizes to compare by."""
    handles, labels = [], []
    for filled, label in ((True, "Pareto-optimal"), (False, "dominated")):
        face, edge = (INK, INK) if filled else ("white", FAINT)
        handles.append(axis.scatter([], [], s=45, facecolor=face, edgecolor=edge))
        labels.append(label)
    for latency in _round_latencies(slowest):
        area = max(LEAST_AREA, AREA * latency / slowest)
        handles.append(axis.scatter([], [], s=area, facecolor="0.8", edgecolor="0.4"))
        labels.append(f"p50 {latency:g} ms")
    axis.legend(
        handles,
        labels,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=len(handles),
        frameon=False,
        fontsize=8,
        handletextpad=0.5,
        columnspacing=1.4,
    )


def _round_latencies(slowest: float) -> list[float]:
    """Two latencies of one digit: about the slowest, and a quarter of it.

    Example:
        >>> _round_latencies(0.58)
        [0.1, 0.5]
    """
    if not slowest:
        return []
    found = []
    for latency in (slowest / 4, slowest):
        unit = 10.0 ** math.floor(math.log10(latency))
        found.append(round(max(d for d in (1, 2, 3, 5) if d * unit <= latency) * unit, 12))
    return sorted(set(found))
