"""Item sequences to time requests on: the same ones whichever way a data set orders its rows."""

from __future__ import annotations

import numpy as np
from torch import Tensor

__all__ = ["sample_requests"]


def sample_requests(*splits, n: int = 200) -> tuple[Tensor, Tensor]:
    """Histories of ``n`` rows of an evaluation split, spread evenly over its users.

    Args:
        splits: Built valid or test splits, ours or RecBole's; the first one with rows is taken.
        n: How many rows; all of them where there are fewer.

    Returns:
        Item ids ``(n, L)``, right-padded with 0, and lengths ``(n,)``.
    """
    split = next((each for each in splits if len(each)), splits[0])
    rows = split.inter_feat
    # A loader's first batch would not do: ours begin with the shortest histories, RecBole's do not.
    order = np.lexsort((rows[split.item_list_length_field], rows[split.uid_field]))
    spread = np.linspace(0, len(order) - 1, min(n, len(order))).round().astype(int)
    batch = split[order[spread]]
    return batch[split.item_id_list_field], batch[split.item_list_length_field]
