"""What a model's constructor asks of its data set, without any data."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from recbole_compress.errors import DataError

__all__ = ["Catalogue"]


class Catalogue:
    """Stands in for a train split where a model is made again from its checkpoint.

    It knows how many items and users there are. Frequencies, which decide permutations of a
    new model, are all alike: those of the old one come with its weights. Make models of item
    vectors inside :func:`~recbole_compress.data.item_vectors.state_will_be_loaded`.

    Args:
        config: The model's.
        n_items: The padding id included.
        n_users: The padding id included.
        n_source_items: Of a model that reads items of another catalogue, how many there are.

    Attributes:
        source: The other catalogue, where there is one.

    Example:
        >>> config = {"ITEM_ID_FIELD": "item_id", "USER_ID_FIELD": "user_id",
        ...           "LIST_SUFFIX": "_list", "MAX_ITEM_LIST_LENGTH": 50}
        >>> Catalogue(config, n_items=101, n_users=11).num("item_id")
        101
    """

    def __init__(
        self, config: Any, n_items: int, n_users: int, n_source_items: int | None = None
    ) -> None:
        self.iid_field, self.uid_field = config["ITEM_ID_FIELD"], config["USER_ID_FIELD"]
        self.item_num, self.user_num = n_items, n_users
        longest = config["MAX_ITEM_LIST_LENGTH"]
        self.field2seqlen = {self.iid_field + config["LIST_SUFFIX"]: longest}
        # FEARec groups its training rows by target; there are none.
        self.inter_feat: dict[str, Tensor] = defaultdict(lambda: torch.zeros(0, dtype=torch.long))

        if n_source_items is not None:
            self.source = Catalogue(config, n_source_items, n_users)

    def num(self, field: str) -> int:
        """How many values a field has; of items and users only.

        Raises:
            DataError: Any other field: its values are in the data set alone.
        """
        if field == self.iid_field:
            return self.item_num
        if field == self.uid_field:
            return self.user_num
        raise DataError(f"field {field!r}: nothing is known of it without the data set")

    def item_counts(self) -> Tensor:
        """One per item, ``(n_items,)``."""
        counts = torch.ones(self.item_num, dtype=torch.long)
        counts[0] = 0
        return counts

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python's own questions, as of a model to be copied with it
            raise AttributeError(name)
        raise DataError(f"{name}: of the data set itself, which is not at hand")
