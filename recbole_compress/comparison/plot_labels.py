"""Names beside the markers of a plot, where there is room for them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from matplotlib.transforms import Bbox

__all__ = ["FAINT", "INK", "place_labels"]

INK, FAINT = "black", "0.55"
PAD = 2.0  # pixels between a label and anything else


class Labelled(Protocol):
    """A marker: what it is called, where it stands, its area, and whether nobody beats it."""

    name: str
    bytes: float
    value: float
    deviation: float
    area: float
    best: bool


def place_labels(axis, points: Sequence[Labelled]) -> None:
    """Every label at the nearest spot where it covers nothing; far ones get a thin line.

    Markers that lie on each other have one label, a line for each of them from the top down. Where
    there is no room, a model that others beat goes without: the table has its name.
    """
    figure = axis.figure
    renderer = figure.canvas.get_renderer()
    scale = figure.dpi / 72
    centers = [axis.transData.transform((p.bytes, p.value)) for p in points]
    radii = [math.sqrt(p.area / math.pi) * scale for p in points]
    taken = [
        Bbox.from_extents(x - r, y - r, x + r, y + r)
        for (x, y), r in zip(centers, radii, strict=True)
    ]
    line = _boxes_along_front(centers, points)
    taken += line
    in_the_way = list(line)  # of the thin lines to labels that stand further off
    taken += [text.get_window_extent(renderer) for text in axis.texts]
    for point, (x, _) in zip(points, centers, strict=True):
        if point.deviation:
            ends = [point.value - point.deviation, point.value + point.deviation]
            low, high = (axis.transData.transform((point.bytes, end))[1] for end in ends)
            taken.append(Bbox.from_extents(x - 1, low, x + 1, high))
    room = axis.get_window_extent(renderer)
    groups = _touching(centers, radii)
    # The unbeaten ones first: theirs are the labels that matter.
    for group in sorted(
        groups, key=lambda group: (not any(points[i].best for i in group), centers[group[0]][0])
    ):
        (x, y), radius = np.mean([centers[i] for i in group], axis=0), radii[group[0]]
        best = any(points[i].best for i in group)
        text = axis.annotate(
            "\n".join(points[i].name for i in group),
            axis.transData.inverted().transform((x, y)),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=8.5,
            color=INK if best else "0.25",
            ha="center",
            va="center",
            zorder=4,
        )
        extent = text.get_window_extent(renderer)
        width, height = extent.width, extent.height
        cost, dx, dy, box = min(
            (
                (
                    distance
                    + 200 * _overlap(box, taken)
                    + 1000 * _outside(box, room)
                    + 120 * _crosses((x, y), box, in_the_way),
                    dx,
                    dy,
                    box,
                )
                for distance, dx, dy in _spots(radius, width, height)
                for box in [_around(x + dx, y + dy, width, height)]
            ),
            key=lambda option: option[0],
        )
        if _overlap(box, taken) and not best:
            text.remove()
            continue
        text.set_position((dx / scale, dy / scale))  # points: whatever it is saved at
        taken.append(box)
        in_the_way.append(box)
        away = max(abs(dx) - width / 2, abs(dy) - height / 2) - radius
        if away > 9 * scale:
            _leader(axis, (x, y), box)


def _touching(centers: Sequence[np.ndarray], radii: Sequence[float]) -> list[list[int]]:
    """Markers that lie on each other share a label: their numbers, from the top down.

    Example:
        >>> _touching([np.array([0, 0]), np.array([9, 0]), np.array([0, 3])], [2, 2, 2])
        [[1], [2, 0]]
    """
    groups: list[list[int]] = []
    for number, center in enumerate(centers):
        near = [
            group
            for group in groups
            if any(math.dist(center, centers[i]) < radii[number] + radii[i] for i in group)
        ]
        groups = [group for group in groups if group not in near]
        groups.append([*itertools.chain(*near), number])
    return [sorted(group, key=lambda i: -centers[i][1]) for group in groups]


def _spots(radius: float, width: float, height: float) -> Iterator[tuple[float, float, float]]:
    """Offsets of a label's middle from the marker's, with how unwelcome each is."""
    for gap in range(4, 112, 6):
        across, up = radius + gap + width / 2, radius + gap + height / 2
        for rank, (dx, dy) in enumerate(
            [
                (across, 0),
                (0, up),
                (0, -up),
                (-across, 0),
                (across, up * 0.7),
                (-across, up * 0.7),
                (across, -up * 0.7),
                (-across, -up * 0.7),
                (width / 3, up),
                (-width / 3, up),
                (width / 3, -up),
                (-width / 3, -up),
            ]
        ):
            yield 2 * gap + rank, dx, dy


def _around(x: float, y: float, width: float, height: float) -> Bbox:
    return Bbox.from_extents(
        x - width / 2 - PAD, y - height / 2 - PAD, x + width / 2 + PAD, y + height / 2 + PAD
    )


def _overlap(box: Bbox, others: Sequence[Bbox]) -> int:
    return sum(1 for other in others if box.overlaps(other))


def _crosses(center: tuple[float, float], box: Bbox, others: Sequence[Bbox]) -> bool:
    """Whether the way from a marker to its label crosses the front or another label."""
    end = np.clip(center, [box.x0, box.y0], [box.x1, box.y1])
    steps = int(math.dist(center, end) // 3)
    way = np.linspace(center, end, steps + 1)[4:]  # the front begins at the marker itself
    boxes = np.array([other.padded(3).extents for other in others]).reshape(-1, 4)
    inside = (way[:, None] >= boxes[:, :2]) & (way[:, None] <= boxes[:, 2:])
    return bool(inside.all(2).any())


def _outside(box: Bbox, room: Bbox) -> bool:
    return box.x0 < room.x0 or box.x1 > room.x1 or box.y0 < room.y0 or box.y1 > room.y1


def _boxes_along_front(centers: Sequence[np.ndarray], points: Sequence[Labelled]) -> list[Bbox]:
    """Small boxes along the line, so that labels keep off it."""
    on_front = sorted(
        (tuple(center) for center, p in zip(centers, points, strict=True) if p.best),
        key=lambda center: center[0],
    )
    boxes = []
    for (x0, y0), (x1, y1) in itertools.pairwise(on_front):
        steps = max(2, int(math.hypot(x1 - x0, y1 - y0) // 6))
        for x, y in zip(np.linspace(x0, x1, steps), np.linspace(y0, y1, steps), strict=True):
            boxes.append(Bbox.from_extents(x - 1, y - 1, x + 1, y + 1))
    return boxes


def _leader(axis, center: tuple[float, float], box: Bbox) -> None:
    """A thin line from the marker to the nearest edge of its label."""
    end = np.clip(center, [box.x0, box.y0], [box.x1, box.y1])
    line = axis.transData.inverted().transform([center, end])
    axis.plot(line[:, 0], line[:, 1], color=FAINT, linewidth=0.7, zorder=1.5)
