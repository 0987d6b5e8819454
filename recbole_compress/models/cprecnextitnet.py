"""CpRecNextItNet: CpRec's compression around a NextItNet backbone."""

from recbole_compress.models.compressed_recommender import CompressedRecommender

__all__ = ["CpRecNextItNet"]


class CpRecNextItNet(CompressedRecommender):
    """CpRec on NextItNet; every choice is a key of ``properties/model/CpRecNextItNet.yaml``.

    Reference:
        Sun et al., "A Generic Network Compression Framework for Sequential Recommender Systems",
        SIGIR 2020, arXiv:2004.13139.
    """
