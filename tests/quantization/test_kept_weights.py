"""What is kept of quantized weights between two readings is never older than they are."""

from __future__ import annotations

import torch
from torch import nn

from recbole_compress.quantization import QuantizationSpec, freeze_, quantize_


def test_what_is_read_in_the_middle_of_training_is_never_older_than_the_weights():
    """A fused step leaves no trace on them."""
    layer = nn.Linear(8, 3)
    quantize_(layer, QuantizationSpec(weight_bits=4))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1, fused=True)
    x = torch.randn(5, 8)
    with torch.no_grad():
        layer(x)
    layer(x).square().sum().backward()
    optimizer.step()
    with torch.no_grad():
        kept = layer(x)
    torch.testing.assert_close(kept, layer(x).detach())


def test_packed_weights_follow_their_zero_points():
    layer = nn.Linear(8, 3)
    quantize_(layer, QuantizationSpec(weight_bits=4, symmetric=False))
    freeze_(layer)
    before = layer.weight.clone()
    (packed,) = layer.parametrizations.weight
    packed.zero_points.add_(1)
    assert not torch.equal(layer.weight, before)
