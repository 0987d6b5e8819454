"""Means over seeds, and whether a difference between two models is more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

__all__ = [
    "Difference",
    "mean_and_deviation",
    "mean_per_user",
    "paired_difference",
    "row_fingerprints",
]

RESAMPLES = 2000
CONFIDENCE = 0.95


class Difference(NamedTuple):
    """How far one model is from another; see :func:`paired_difference`.

    Attributes:
        relative: ``mean(ours) / mean(theirs) - 1``; None where theirs is 0.
        low, high: Its 95 % bootstrap interval; None where it cannot be told.
        p_value: Of the paired t-test; None where there is no difference to test.
        users: How many pairs.
    """

    relative: float | None
    low: float | None
    high: float | None
    p_value: float | None
    users: int


def mean_and_deviation(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean and sample standard deviation of what is known; None for what cannot be told.

    Example:
        >>> mean_and_deviation([1.0, 3.0, None])
        {'mean': 2.0, 'std': 1.4142135623730951, 'n': 2}
        >>> mean_and_deviation([1.0])
        {'mean': 1.0, 'std': None, 'n': 1}
    """
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    return {
        "mean": float(known.mean()) if len(known) else None,
        "std": float(known.std(ddof=1)) if len(known) > 1 else None,
        "n": len(known),
    }


def mean_per_user(users: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of every user's rows; the rows of one session are no independent observations.

    Args:
        users: Whose row it is, ``(rows,)``.
        values: ``(rows,)`` or ``(rows, metrics)``.

    Returns:
        The users, sorted, ``(n,)``; and their means, ``(n,)`` or ``(n, metrics)``.

    Example:
        >>> mean_per_user(np.array(["b", "a", "b"]), np.array([1.0, 5.0, 2.0]))
        (array(['a', 'b'], dtype='<U1'), array([5. , 1.5]))
    """
    names, owner, rows = np.unique(users, return_inverse=True, return_counts=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, owner, values)
    return names, sums / rows.reshape(-1, *[1] * (values.ndim - 1))


def row_fingerprints(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """What two lists of test rows share if they hold the same rows, in whatever order.

    Numbers in place of texts: sorting millions of pairs of texts takes long.

    Args:
        users: Whose row it is, ``(rows,)``.
        items: Its target, ``(rows,)``.

    Returns:
        uint64 ``(rows,)``, sorted.

    Example:
        >>> one = row_fingerprints(np.array(["a", "b"]), np.array(["x", "y"]))
        >>> other = row_fingerprints(np.array(["b", "a"]), np.array(["y", "x"]))
        >>> crossed = row_fingerprints(np.array(["a", "b"]), np.array(["y", "x"]))
        >>> np.array_equal(one, other), np.array_equal(one, crossed)
        (True, False)
    """
    rows = pd.DataFrame({"user": users.astype(object), "item": items.astype(object)})
    return np.sort(pd.util.hash_pandas_object(rows, index=False).to_numpy())


def paired_difference(
    ours: np.ndarray, theirs: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> list[Difference]:
    """Compare two models user by user, one metric per column.

    The interval is the percentile bootstrap of ``mean(ours) / mean(theirs) - 1``: users are drawn
    with replacement, both models' values of a user together.

    Args:
        ours: Value per user and metric, ``(users, metrics)``.
        theirs: The reference's, same users in the same order.
        resamples: Bootstrap samples.
        seed: Of the draws.

    Returns:
        One :class:`Difference` per metric.
    """
    users, metrics = ours.shape
    ratios = _resampled_ratios(ours, theirs, resamples, seed)
    found = []
    for metric in range(metrics):
        base = theirs[:, metric].mean()
        tail = (1 - CONFIDENCE) / 2
        low, high = (
            np.quantile(ratios[:, metric], [tail, 1 - tail])
            if users > 1 and np.isfinite(ratios[:, metric]).all()  # one is always drawn again
            else (None, None)
        )
        found.append(
            Difference(
                relative=float(ours[:, metric].mean() / base - 1) if base else None,
                low=None if low is None else float(low),
                high=None if high is None else float(high),
                p_value=_paired_t(ours[:, metric] - theirs[:, metric]),
                users=users,
            )
        )
    return found


def _paired_t(differences: np.ndarray) -> float | None:
    if len(differences) < 2 or np.ptp(differences) == 0:
        return None  # nothing varies: the test statistic is 0 / 0 or infinite
    p_value = float(stats.ttest_1samp(differences, 0.0).pvalue)
    return p_value if math.isfinite(p_value) else None


def _resampled_ratios(
    ours: np.ndarray, theirs: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
    """``(resamples, metrics)`` relative differences."""
    random = np.random.default_rng(seed)
    users = len(ours)
    both = np.concatenate([ours, theirs], axis=1)
    sums = np.empty((resamples, both.shape[1]))
    for sample in range(resamples):
        # How often each user is drawn: the sums are then one product.
        drawn = np.bincount(random.integers(users, size=users), minlength=users)
        sums[sample] = drawn @ both
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums[:, : ours.shape[1]] / sums[:, ours.shape[1] :] - 1
