"""RecBole sequential recommenders, each a preset of choices.

- ``choices``: every choice on every axis, by name; ``Assembly`` builds the parts.
- ``changed_config``: a config as it would be with other choices.
- ``compressed_recommender``: the recommender they are put together in.
- ``cprecnextitnet``, ``cprecgru4rec``, ``cprecsasrec``, ``ttsasrec``: the presets.
- ``item_order``: items of a block by id, which takes fewer bytes.
- ``transfer``: going on with another catalogue to recommend from.
- ``popularity``, ``recency``: the baselines that need no training; the first under RecBole's name.
"""

from recbole_compress.models.compressed_recommender import CompressedRecommender
from recbole_compress.models.cprecgru4rec import CpRecGRU4Rec
from recbole_compress.models.cprecnextitnet import CpRecNextItNet
from recbole_compress.models.cprecsasrec import CpRecSASRec
from recbole_compress.models.ttsasrec import TTSASRec

__all__ = ["CompressedRecommender", "CpRecGRU4Rec", "CpRecNextItNet", "CpRecSASRec", "TTSASRec"]
