"""CpRecGRU4Rec: CpRec's compression around a GRU4Rec backbone."""

from recbole_compress.models.compressed_recommender import CompressedRecommender

__all__ = ["CpRecGRU4Rec"]


class CpRecGRU4Rec(CompressedRecommender):
    """CpRec on GRU4Rec; every choice is a key of ``properties/model/CpRecGRU4Rec.yaml``.

    Reference:
        Sun et al., "A Generic Network Compression Framework for Sequential Recommender Systems",
        SIGIR 2020, arXiv:2004.13139.
    """
