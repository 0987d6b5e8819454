"""Let RecBole's CPR models rank without knowing the answer, and be evaluated on samples.

``full_sort_predict`` in ``recbole/model/sequential_recommender/{gru4reccpr,sasreccpr}.py`` works
out a loss nobody reads, for which it wants the next item, and ``predict`` stops at an
``assert False`` that says it would be slow, which ends every run of ``run_recbole``: that counts
operations with it.
"""

import importlib
from typing import Any

from torch import Tensor

__all__ = ["mend"]


def _full_sort_predict(self: Any, interaction: Any) -> Tensor:
    _, probabilities = self.calculate_loss_prob(interaction, only_compute_prob=True)
    if self.post_remove_context:
        probabilities.scatter_(1, interaction[self.ITEM_SEQ], 0)
    return probabilities


def _predict(self: Any, interaction: Any) -> Tensor:
    item = interaction[self.ITEM_ID].unsqueeze(1)
    return self.full_sort_predict(interaction).gather(1, item).squeeze(1)


def mend() -> None:
    """Replace the two methods of both models; RecBole 1.2.0 has neither."""
    package = importlib.import_module("recbole.model.sequential_recommender")
    for name in ("GRU4RecCPR", "SASRecCPR"):
        if model := getattr(package, name, None):
            model.full_sort_predict, model.predict = _full_sort_predict, _predict
