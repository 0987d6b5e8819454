"""RecBole's popularity baseline on the rows of a sequential run."""

from __future__ import annotations

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_compress.data.item_counts import train_item_counts

__all__ = ["Pop"]


class Pop(SequentialRecommender):
    """Recommends the most frequent items of the train split to everybody.

    RecBole's own ``Pop`` is a general model: it is evaluated on other rows, with the history left
    out of the ranking, and counts an item once per training batch however often it occurs there.
    This one counts every interaction of the train split once, is split, ranked and reported like
    any sequential model, and needs no training.

    Args:
        config: RecBole's ``Config`` (or ours).
        dataset: The train split.

    Attributes:
        scores_only_order: Scores are no logits: their distances say nothing that a student could
            learn.
    """

    scores_only_order = True
    input_type = InputType.POINTWISE  # as RecBole's says; there is no negative to sample

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        counts = train_item_counts(dataset).float()
        # A bias per item and nothing else: a parameter, so that reports count it.
        self.popularity = nn.Parameter(counts / counts.max().clamp(min=1), requires_grad=False)

    def calculate_loss(self, interaction) -> Tensor:
        return torch.zeros((), device=self.popularity.device, requires_grad=True)

    def predict(self, interaction) -> Tensor:
        return self.popularity[interaction[self.ITEM_ID]]

    def full_sort_predict(self, interaction) -> Tensor:
        return self.popularity.repeat(len(interaction[self.ITEM_SEQ_LEN]), 1)
