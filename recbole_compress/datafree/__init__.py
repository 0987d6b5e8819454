"""Training one model to answer as another does, on sequences that no data set was opened for.

- ``sequences``: sequences, places in them, and what a model says there.
- ``draw``: items from scores: by their softmax, epsilon-greedy, Gumbel top-K.
- ``sampling``: sequences from a model itself, or uniform noise.
- ``divergence``: full-catalogue KL, in chunks or over candidates.
- ``discrepancy``: PRecQ's point-wise and ranking losses and its item-similarity map.
- ``game``: the gradient that teaches a generator to find where two models differ.

Reference:
    PRecQ: Shi et al., WWW 2023, doi:10.1145/3543507.3583351.
"""

from recbole_compress.datafree.discrepancy import (
    pointwise_discrepancy,
    ranking_discrepancy,
    similarity_discrepancy,
)
from recbole_compress.datafree.divergence import Candidates, item_divergence
from recbole_compress.datafree.draw import draw_items_, epsilon_greedy, gumbel_top_k
from recbole_compress.datafree.game import Choices, generator_objective
from recbole_compress.datafree.sampling import (
    SamplingSettings,
    noise_sequences,
    sample_sequences,
    stationary_prior,
)
from recbole_compress.datafree.sequences import NextItemModel, Places, Reading, Sequences

__all__ = [
    "Candidates",
    "Choices",
    "NextItemModel",
    "Places",
    "Reading",
    "SamplingSettings",
    "Sequences",
    "draw_items_",
    "epsilon_greedy",
    "generator_objective",
    "gumbel_top_k",
    "item_divergence",
    "noise_sequences",
    "pointwise_discrepancy",
    "ranking_discrepancy",
    "sample_sequences",
    "similarity_discrepancy",
    "stationary_prior",
]
