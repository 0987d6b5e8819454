"""One small instance of every backbone, and of every variant that has code of its own."""

from __future__ import annotations

from recbole_compress.backbones import GRU4Rec, NextItNet, SASRec

DIM = 8


def with_adapters(make):
    def adapted():
        backbone = make()
        backbone.add_adapters(3)
        return backbone

    return adapted


VARIANTS = {
    "nextitnet": lambda: NextItNet(DIM),
    "nextitnet_a": lambda: NextItNet(DIM, dilations=(1, 2, 4), residual_block="a"),
    "nextitnet_dropout": lambda: NextItNet(DIM, dilations=(1, 2), dropout=0.4),
    "nextitnet_cross_layer": lambda: NextItNet(DIM, layer_sharing="cross_layer"),
    "nextitnet_cross_block": lambda: NextItNet(DIM, layer_sharing="cross_block"),
    "nextitnet_adjacent_layer": lambda: NextItNet(DIM, layer_sharing="adjacent_layer"),
    "nextitnet_adjacent_block": lambda: NextItNet(
        DIM, dilations=(1, 4, 1), layer_sharing="adjacent_block"
    ),
    "nextitnet_a_cross_block": lambda: NextItNet(
        DIM, dilations=(1, 2), residual_block="a", layer_sharing="cross_block"
    ),
    "nextitnet_adapters": with_adapters(
        lambda: NextItNet(DIM, dilations=(1, 2), layer_sharing="cross_layer")
    ),
    "gru4rec_adapters": with_adapters(lambda: GRU4Rec(DIM, hidden_size=12, num_layers=2)),
    "sasrec_adapters": with_adapters(lambda: SASRec(DIM, inner_size=12)),
    "gru4rec": lambda: GRU4Rec(DIM, hidden_size=12),
    "gru4rec_deep": lambda: GRU4Rec(DIM, hidden_size=12, num_layers=2),
    "sasrec": lambda: SASRec(DIM, inner_size=12),
    "sasrec_cross_layer": lambda: SASRec(DIM, inner_size=12, layer_sharing="cross_layer"),
    "sasrec_adjacent_block": lambda: SASRec(
        DIM, num_layers=3, inner_size=12, layer_sharing="adjacent_block"
    ),
}
