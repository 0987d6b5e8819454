"""Which rows a split holds, as one hash: two runs that train on other rows are told apart by it."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

__all__ = ["rows_fingerprint"]

# Odd, so that no bit of a user's hash is lost.
_ODD = np.uint64(0x9E3779B97F4A7C15)


def rows_fingerprint(split) -> str:
    """Hash of the user and target tokens of all rows, in whatever order they are.

    It is the same whatever model, length of sequences or form of examples the split is for.

    Args:
        split: A built split, ours or RecBole's own ``SequentialDataset``.

    Example:
        >>> from types import SimpleNamespace
        >>> def split(users, items):
        ...     tokens = {"user": ["[PAD]", "a", "b"], "item": ["[PAD]", "x", "y"]}
        ...     rows = {"user": np.array(users), "item": np.array(items)}
        ...     fields = {"uid_field": "user", "iid_field": "item"}
        ...     return SimpleNamespace(inter_feat=rows, field2id_token=tokens, **fields)
        >>> rows_fingerprint(split([1, 2], [1, 2])) == rows_fingerprint(split([2, 1], [2, 1]))
        True
        >>> rows_fingerprint(split([1, 2], [1, 2])) == rows_fingerprint(split([1, 2], [2, 1]))
        False
    """
    # Every token is hashed once, and numbers are sorted in place of pairs of texts.
    users, items = (_hashes(split, field) for field in (split.uid_field, split.iid_field))
    return hashlib.sha256(np.sort(users * _ODD + items).tobytes()).hexdigest()


def _hashes(split, field: str) -> np.ndarray:
    """Of the token in every row, uint64."""
    tokens = np.array([str(token) for token in split.field2id_token[field]], dtype=object)
    hashes = pd.util.hash_array(tokens, categorize=False)
    return hashes[np.asarray(split.inter_feat[field])]
