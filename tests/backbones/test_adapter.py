"""Adapters start as nothing, stand in every backbone, and are shared by no two places."""

from __future__ import annotations

import pytest
import torch

from recbole_compress.backbones import Adapter, Backbone
from tests.backbones.variants import DIM, VARIANTS

PLAIN = {name: make for name, make in VARIANTS.items() if not name.endswith("_adapters")}


@pytest.mark.parametrize("name", PLAIN)
def test_a_backbone_with_new_adapters_is_the_same_function(name):
    backbone = PLAIN[name]().eval()
    embedded, lengths = torch.randn(3, 9, DIM), torch.tensor([9, 4, 1])
    with torch.no_grad():
        before, macs = backbone(embedded, lengths), backbone.macs(9)
        backbone.add_adapters(3)
        torch.testing.assert_close(backbone(embedded, lengths), before, rtol=0, atol=0)
        widths = backbone.adapter_widths()
        assert len({id(adapter.up.weight) for adapter in backbone.adapters}) == len(widths) >= 2
        assert backbone.macs(9) == macs + 9 * 2 * 3 * sum(widths)
        for place in range(len(widths)):  # each of them has a part in the outcome
            changed = VARIANTS[name]().eval()
            changed.add_adapters(3)
            changed.load_state_dict(backbone.state_dict())
            torch.nn.init.normal_(changed.adapters[place].up.bias)
            assert (changed(embedded, lengths) - before).abs().amax() > 1e-4, place


def test_an_adapter_is_a_bottleneck_with_a_skip():
    adapter = Adapter(4, 2)
    torch.nn.init.normal_(adapter.up.weight)
    x = torch.randn(5, 4)
    hidden = (x @ adapter.down.weight.T + adapter.down.bias).clamp(min=0)
    torch.testing.assert_close(adapter(x), x + hidden @ adapter.up.weight.T)


def test_refusals():
    class Plain(Backbone):
        def forward(self, embedded, lengths):
            return embedded

        def macs(self, length):
            return 0

    with pytest.raises(ValueError, match="Plain has no place for adapters"):
        Plain(4).add_adapters(2)
    backbone = VARIANTS["sasrec_adapters"]()
    with pytest.raises(ValueError, match="has adapters already"):
        backbone.add_adapters(2)
    with pytest.raises(ValueError, match="size=0"):
        VARIANTS["sasrec"]().add_adapters(0)
