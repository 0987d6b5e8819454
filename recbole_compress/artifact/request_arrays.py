"""What a request is made of, checked: operators take what is wrong for something else."""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_compress.errors import ArtifactError

__all__ = ["item_ids", "lengths", "whole_numbers"]


def whole_numbers(values: Any, name: str, *shape: int | None) -> np.ndarray:
    """An array of int64.

    Args:
        values: Numbers, as an array or as lists.
        name: For messages.
        shape: What it has to have; None for any size.

    Raises:
        ArtifactError: Of another shape, or with something that is no whole number.

    Example:
        >>> whole_numbers([[1, 2]], "item_seq", None, None)
        array([[1, 2]])
        >>> whole_numbers([1.5], "length", 1)
        Traceback (most recent call last):
            ...
        recbole_compress.errors.ArtifactError: length: expected whole numbers
    """
    try:
        given = np.asarray(values)
        with np.errstate(invalid="ignore"):  # NaN is told apart below
            numbers = np.ascontiguousarray(given, np.int64)
    except (TypeError, ValueError, OverflowError):
        raise ArtifactError(f"{name}: expected whole numbers, in rows of the same length") from None
    if len(shape) != given.ndim or any(
        size not in (None, found) for size, found in zip(shape, given.shape, strict=True)
    ):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ArtifactError(f"{name}: has the shape {given.shape}, expected ({wanted})")
    if given.dtype.kind not in "iu" and not np.array_equal(numbers, given):
        raise ArtifactError(f"{name}: expected whole numbers")
    return numbers


def item_ids(values: Any, name: str, n_items: int, rows: int | None = None) -> np.ndarray:
    """Ids ``(rows, any)``, padding among them.

    Raises:
        ArtifactError: As :func:`whole_numbers`; or an id that no item has.
    """
    ids = whole_numbers(values, name, rows, None)
    if ids.size and not (ids.min() >= 0 and ids.max() < n_items):
        wrong = ids[(ids < 0) | (ids >= n_items)][0]
        raise ArtifactError(
            f"item id {wrong}: the file knows the ids 1 .. {n_items - 1} (0 is padding)"
        )
    return ids


def lengths(values: Any, item_seq: np.ndarray) -> np.ndarray:
    """How many items each row has, at its beginning; none in an empty one.

    Raises:
        ArtifactError: As :func:`whole_numbers`; longer than the row, or padding among its items.
    """
    found = whole_numbers(values, "length", len(item_seq))
    width = item_seq.shape[1]
    if found.size and not (found.min() >= 0 and found.max() <= width):
        wrong = found[(found < 0) | (found > width)][0]
        raise ArtifactError(f"length={wrong}: choose 0 .. {width}, the items of a row")
    if ((item_seq == 0) & (np.arange(width) < found[:, None])).any():
        raise ArtifactError("item_seq: 0 among the items of a row; pad on the right, behind them")
    return found
