"""CpRecSASRec: CpRec's compression around a SASRec backbone."""

from recbole_compress.models.compressed_recommender import CompressedRecommender

__all__ = ["CpRecSASRec"]


class CpRecSASRec(CompressedRecommender):
    """CpRec on SASRec; every choice is a key of ``properties/model/CpRecSASRec.yaml``.

    Reference:
        Sun et al., "A Generic Network Compression Framework for Sequential Recommender Systems",
        SIGIR 2020, arXiv:2004.13139.
    """
