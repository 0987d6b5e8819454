"""TTSASRec: OD-Rec's compressed recommender, a tensor-train item table on SASRec."""

from recbole_compress.models.compressed_recommender import CompressedRecommender

__all__ = ["TTSASRec"]


class TTSASRec(CompressedRecommender):
    """A tensor-train table on SASRec; every choice is a key of ``properties/model/TTSASRec.yaml``.

    Reference:
        OD-Rec: Xia et al., "On-Device Next-Item Recommendation with Self-Supervised Knowledge
        Distillation", SIGIR 2022, arXiv:2204.11091.
    """
