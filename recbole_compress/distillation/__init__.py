"""What a small model learns from a large one besides the data: losses on plain tensors.

- ``soft_targets``: the large model's distribution over all items.
- ``recombination``: sessions put together from both models' items, popular ones and rare ones.
- ``contrastive``: two such views of one session should be alike.
- ``predictive``: each of them should tell the next item.

Reference:
    OD-Rec: Xia et al., SIGIR 2022, arXiv:2204.11091; read from its released code.
"""

from recbole_compress.distillation.contrastive import info_nce
from recbole_compress.distillation.predictive import predictive_loss
from recbole_compress.distillation.recombination import Recombination, Side, Views, hot_items
from recbole_compress.functional.soft_targets import soft_target_loss

__all__ = [
    "Recombination",
    "Side",
    "Views",
    "hot_items",
    "info_nce",
    "predictive_loss",
    "soft_target_loss",
]
