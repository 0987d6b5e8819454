"""Embedded sequence -> hidden states.

- ``base``: the contract, :class:`Backbone`.
- ``nextitnet``: dilated convolutions, the trunk of CpRec; assembled from
  ``residual_block`` (types a and b) and ``causal_convolution``.
- ``gru4rec``: a gated recurrent network.
- ``sasrec``: causal self-attention.
- ``last_position_plan``: what a stack of convolutions must look at for its last state.
- ``readout``: which vector of a sequence's states items are scored with.
- ``pointer``: which of the sequence's own items come again, and whether one does.
- ``adapter``: small networks that fine-tuning trains inside a frozen backbone.
- ``layer_sharing``: which layers use the same weights, as plain numbers.
"""

from recbole_compress.backbones.adapter import Adapter
from recbole_compress.backbones.base import Backbone
from recbole_compress.backbones.causal_convolution import CausalConvolution
from recbole_compress.backbones.gru4rec import GRU4Rec
from recbole_compress.backbones.layer_sharing import SHARING_SCHEMES, SharingPlan, sharing_plan
from recbole_compress.backbones.nextitnet import NextItNet
from recbole_compress.backbones.pointer import Pointer
from recbole_compress.backbones.readout import LastPosition, Readout, SoftAttentionReadout
from recbole_compress.backbones.residual_block import RESIDUAL_BLOCKS
from recbole_compress.backbones.sasrec import SASRec

__all__ = [
    "RESIDUAL_BLOCKS",
    "SHARING_SCHEMES",
    "Adapter",
    "Backbone",
    "CausalConvolution",
    "GRU4Rec",
    "LastPosition",
    "NextItNet",
    "Pointer",
    "Readout",
    "SASRec",
    "SharingPlan",
    "SoftAttentionReadout",
    "sharing_plan",
]
