"""RecBole's ranking metrics of every single row, told from the rank of its one target."""

from __future__ import annotations

import numpy as np

__all__ = ["metric_per_row", "told_from_ranks"]


def _reciprocal(ranks: np.ndarray, k: int) -> np.ndarray:
    return 1 / ranks


def _one(ranks: np.ndarray, k: int) -> np.ndarray:
    return np.ones(len(ranks))


# What a target at ``rank <= k`` is worth; beyond k all of them are 0. With one target per row,
# recall is hit, and average precision is the reciprocal rank.
_WORTH = {
    "hit": _one,
    "recall": _one,
    "precision": lambda ranks, k: np.full(len(ranks), 1 / k),
    "mrr": _reciprocal,
    "map": _reciprocal,
    "ndcg": lambda ranks, k: 1 / np.log2(ranks + 1),
}


def told_from_ranks(name: str, depth: int) -> bool:
    """Whether :func:`metric_per_row` knows a metric, from ranks that reach down to ``depth``.

    Example:
        >>> [told_from_ranks(name, 20) for name in ("ndcg@10", "ndcg@50", "auc")]
        [True, False, False]
    """
    metric, _, k = name.lower().partition("@")
    return metric in _WORTH and k.isdigit() and 0 < int(k) <= depth


def metric_per_row(name: str, ranks: np.ndarray) -> np.ndarray:
    """A metric of every row; its mean over the rows is RecBole's metric.

    Args:
        name: RecBole's name in any case, with its k: ``ndcg@10``.
        ranks: Place of the target from 1, 0 where it is not among the best; ``(rows,)``.

    Returns:
        float64 ``(rows,)``.

    Example:
        >>> metric_per_row("mrr@3", np.array([1, 2, 4, 0])).tolist()
        [1.0, 0.5, 0.0, 0.0]
    """
    metric, _, k = name.lower().partition("@")
    found = (ranks > 0) & (ranks <= int(k))
    values = np.zeros(len(ranks))
    values[found] = _WORTH[metric](ranks[found].astype(np.float64), int(k))
    return values
