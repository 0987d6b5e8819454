"""Hidden state -> item scores, loss and exact top-k.

- ``base``: the contract, :class:`ItemHead`.
- ``scored_state``: the door through which hidden states enter the product with the catalogue.
- ``shared_embedding``: how a tied head holds the input side's embedding.
- ``tied``: scores with the item embedding's own table.
- ``untied``: a full table of its own, the uncompressed reference.
- ``low_rank``: CpRec's B1, one factorisation for all items.
- ``two_level_softmax``: CpRec's Bo, an exact two-level softmax with cluster tokens.
- ``two_level``: that over tables of its own.
- ``tied_two_level``: that over the blockwise embedding's own tables.
- ``tied_codes``: a full output table from the product-quantized embedding's codes.
- ``pointer``: the items of the sequence by pointing at them, all others by one of the above.
"""

from recbole_compress.heads.base import ItemHead
from recbole_compress.heads.low_rank import LowRankHead
from recbole_compress.heads.pointer import PointerHead
from recbole_compress.heads.tied import TiedHead
from recbole_compress.heads.tied_codes import TiedCodesHead
from recbole_compress.heads.tied_two_level import TiedTwoLevelHead
from recbole_compress.heads.two_level import TwoLevelHead
from recbole_compress.heads.untied import UntiedHead

__all__ = [
    "ItemHead",
    "LowRankHead",
    "PointerHead",
    "TiedCodesHead",
    "TiedHead",
    "TiedTwoLevelHead",
    "TwoLevelHead",
    "UntiedHead",
]
