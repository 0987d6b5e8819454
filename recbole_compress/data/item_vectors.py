"""What the train split alone says about which items are alike."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import numpy as np
import torch
from scipy.sparse import csr_matrix
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from recbole_compress.data.shown_sequences import shown_by_split

__all__ = ["state_will_be_loaded", "train_item_vectors"]

_NOT_NEEDED = ContextVar("_NOT_NEEDED", default=False)


@contextlib.contextmanager
def state_will_be_loaded() -> Iterator[None]:
    """Models made inside get zeros for item vectors: a checkpoint brings what is made of them.

    The decomposition takes seconds on large data.

    Example:
        >>> with state_will_be_loaded():
        ...     pass  # model = make(); then, inside or after: model.load_state_dict(state)
    """
    token = _NOT_NEEDED.set(True)
    try:
        yield
    finally:
        _NOT_NEEDED.reset(token)


def train_item_vectors(dataset, dim: int, seed: int = 0) -> Tensor:
    """Item factors of the sequence-by-item matrix of a built train split, by truncated SVD.

    Items that occur in the same sequences get similar vectors. Items that the train split never
    shows get zeros, and so does whatever exceeds the rank of the matrix.

    Args:
        dataset: Ours or RecBole's own ``SequentialDataset``.
        dim: Width of the vectors.
        seed: Of the randomised SVD.

    Returns:
        float32 ``(n_items - 1, dim)``: item id ``i`` has row ``i - 1``. Zeros inside
        :func:`state_will_be_loaded`.
    """
    if _NOT_NEEDED.get():
        return torch.zeros(dataset.item_num - 1, dim)
    sequences, items = shown_by_split(dataset)
    ones = np.ones(len(items), dtype=np.float32)
    matrix = csr_matrix(
        (ones, (sequences, items - 1)), shape=(sequences.max() + 1, dataset.item_num - 1)
    )
    matrix.data[:] = 1.0  # once is enough
    # An item in every sequence would otherwise make the first factors its own.
    counts = np.asarray(matrix.sum(axis=0)).ravel()
    matrix = matrix.multiply(1 / np.sqrt(np.maximum(counts, 1))).tocsr()
    rank = min(dim, *matrix.shape)
    _, _, factors = randomized_svd(matrix, n_components=rank, random_state=seed)
    vectors = np.zeros((matrix.shape[1], dim), dtype=np.float32)
    vectors[:, :rank] = factors.T
    return torch.from_numpy(vectors)
