"""What the paper on quantization without data (PRecQ, WWW 2023) reports: its Table 2, and weights.

NDCG@10 among 1 + 100 candidates; weights of that many bits, activations in full precision.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PAPER", "RANKING_WEIGHTS", "PaperRow"]

# Of the ranking loss, by backbone; the preset has the first.
RANKING_WEIGHTS = {"GRU4Rec": 1.0, "SASRec": 0.25, "BERT4Rec": 0.25}


class PaperRow(NamedTuple):
    """A row of the table; everything but the first three are NDCG@10.

    Attributes:
        dataset: The paper's.
        model: RecBole's name for it.
        bits: Of the weights.
        full: The full-precision model.
        real: The same training on the real sequences.
        post: The row that the paper calls post-quantization.
        noise: On uniformly random sequences.
        game: The paper's own method.
    """

    dataset: str
    model: str
    bits: int
    full: float
    real: float
    post: float
    noise: float
    game: float


PAPER = [
    PaperRow("Beauty", "GRU4Rec", 8, 0.2252, 0.2200, 0.0434, 0.1990, 0.2168),
    PaperRow("Beauty", "GRU4Rec", 4, 0.2252, 0.2179, 0.0419, 0.1983, 0.2128),
    PaperRow("Beauty", "SASRec", 8, 0.2338, 0.2278, 0.0461, 0.2094, 0.2241),
    PaperRow("Beauty", "SASRec", 4, 0.2338, 0.2272, 0.0430, 0.2074, 0.2176),
    PaperRow("Beauty", "SASRec", 2, 0.2338, 0.2251, 0.0420, 0.2043, 0.2131),
    PaperRow("Steam", "SASRec", 6, 0.5186, 0.5027, 0.0501, 0.3807, 0.4122),
    PaperRow("Steam", "SASRec", 4, 0.5186, 0.4980, 0.0496, 0.3776, 0.4097),
    PaperRow("Steam", "BERT4Rec", 8, 0.4927, 0.4850, 0.0500, 0.2298, 0.4179),
    PaperRow("Steam", "BERT4Rec", 4, 0.4927, 0.4762, 0.0472, 0.2237, 0.3844),
    PaperRow("Steam", "BERT4Rec", 2, 0.4927, 0.4689, 0.0425, 0.2098, 0.3324),
    PaperRow("TKY", "GRU4Rec", 6, 0.5550, 0.5056, 0.0447, 0.3820, 0.4301),
    PaperRow("TKY", "GRU4Rec", 4, 0.5550, 0.4999, 0.0442, 0.3777, 0.4271),
    PaperRow("TKY", "SASRec", 8, 0.6057, 0.6001, 0.1398, 0.4249, 0.4444),
    PaperRow("TKY", "SASRec", 2, 0.6057, 0.5893, 0.1307, 0.4092, 0.4284),
    PaperRow("TKY", "BERT4Rec", 4, 0.6026, 0.3951, 0.1027, 0.3060, 0.3970),
    PaperRow("TKY", "BERT4Rec", 2, 0.6026, 0.3875, 0.0962, 0.2963, 0.3846),
]
