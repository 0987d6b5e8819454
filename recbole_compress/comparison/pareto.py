"""Which models nobody beats in both size and accuracy."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["pareto_front"]


def pareto_front(sizes: Sequence[float], values: Sequence[float]) -> list[int]:
    """Positions of the points that no other is both at most as big and at least as good as.

    Args:
        sizes: Smaller is better.
        values: Bigger is better.

    Returns:
        Positions by ascending size; of equal points the first.

    Example:
        >>> pareto_front([100, 300, 200, 50], [0.2, 0.3, 0.1, 0.05])
        [3, 0, 1]
    """
    front: list[int] = []
    for position in sorted(range(len(sizes)), key=lambda i: (sizes[i], -values[i])):
        if not front or values[position] > values[front[-1]]:
            front.append(position)
    return front
