"""What RecBole's masking of sequences cannot do: it would end in a traceback, or never."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from recbole_compress.errors import ConfigError

__all__ = ["refuse_masking_nothing", "refuse_whole_catalogues"]

_TRANSFORM = "mask_itemseq"


def refuse_masking_nothing(config: Any) -> None:
    """Check ``mask_ratio`` against the longest sequence: RecBole makes room for so many masks.

    Args:
        config: Of any model; of others nothing is asked.

    Raises:
        ConfigError: It has room for none.

    Example:
        >>> run = {"transform": "mask_itemseq", "mask_ratio": 0.2, "MAX_ITEM_LIST_LENGTH": 3}
        >>> refuse_masking_nothing({**run, "MAX_ITEM_LIST_LENGTH": 5})
        >>> refuse_masking_nothing(run)
        Traceback (most recent call last):
            ...
        recbole_compress.errors.ConfigError: mask_ratio=0.2: is less than one item of \
MAX_ITEM_LIST_LENGTH=3; choose 0.34 or more
    """
    if config["transform"] != _TRANSFORM or config["mask_ratio"] is None:
        return
    ratio, length = config["mask_ratio"], config["MAX_ITEM_LIST_LENGTH"]
    if not ratio * length >= 1:
        raise ConfigError(
            f"mask_ratio={ratio}: is less than one item of MAX_ITEM_LIST_LENGTH={length}; choose "
            f"{math.ceil(100 / length) / 100:g} or more"
        )


def refuse_whole_catalogues(config: Any, n_items: int, splits: Iterable[Any]) -> None:
    """Check that beside every sequence there is an item that RecBole can draw as a negative.

    It draws until one is not in the sequence, in evaluation as well.

    Args:
        config: Of any model; of others nothing is asked.
        n_items: Without the padding.
        splits: The parts of the data set.

    Raises:
        ConfigError: A sequence holds all items.
    """
    if config["transform"] != _TRANSFORM or config["MAX_ITEM_LIST_LENGTH"] < n_items:
        return
    field = config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]
    for split in splits:
        ids = split.inter_feat[field]
        shown = torch.zeros(len(ids), n_items + 1, dtype=torch.bool).scatter_(1, ids, True)
        if shown[:, 1:].all(dim=1).any():
            raise ConfigError(
                f"model={config['model']}: a sequence of {config['dataset']} holds all of its "
                f"{n_items} items, so that no other can be drawn as a negative; take another "
                f"model, such as SASRec, or a MAX_ITEM_LIST_LENGTH below {n_items}"
            )
