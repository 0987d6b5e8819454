"""Item id -> vector.

- ``base``: the contract, :class:`ItemEmbedding`.
- ``dense``: one full row per item, the uncompressed reference.
- ``low_rank``: CpRec's B1, one factorisation for all items.
- ``blockwise``: CpRec's Bi, width falling with popularity.
- ``tensor_train``: OD-Rec's cores, plain or semi-tensor-train.
- ``product_quantized``: RecJPQ's codes, a few bytes per item that choose among shared sub-vectors.
- ``item_blocks``: the popularity partition that ``blockwise`` and the two-level head share.
"""

from recbole_compress.embeddings.base import ItemEmbedding
from recbole_compress.embeddings.blockwise import BlockwiseEmbedding
from recbole_compress.embeddings.dense import DenseEmbedding
from recbole_compress.embeddings.item_blocks import ItemBlocks
from recbole_compress.embeddings.low_rank import LowRankEmbedding
from recbole_compress.embeddings.product_quantized import ProductQuantizedEmbedding
from recbole_compress.embeddings.tensor_train import TensorTrainEmbedding

__all__ = [
    "BlockwiseEmbedding",
    "DenseEmbedding",
    "ItemBlocks",
    "ItemEmbedding",
    "LowRankEmbedding",
    "ProductQuantizedEmbedding",
    "TensorTrainEmbedding",
]
