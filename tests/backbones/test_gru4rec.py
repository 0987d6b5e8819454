"""GRU4Rec against the recurrence written out."""

from __future__ import annotations

import pytest
import torch

from recbole_compress.backbones import GRU4Rec


def test_equals_the_recurrence_written_out():
    backbone = GRU4Rec(5, hidden_size=7).double().eval()
    embedded = torch.randn(3, 6, 5, dtype=torch.double)
    from_input = backbone.gru.weight_ih_l0.chunk(3)
    from_state = backbone.gru.weight_hh_l0.chunk(3)
    state, states = torch.zeros(3, 7, dtype=torch.double), []
    for x in embedded.unbind(1):
        reset, update = (
            torch.sigmoid(x @ from_input[gate].T + state @ from_state[gate].T) for gate in (0, 1)
        )
        candidate = torch.tanh(x @ from_input[2].T + reset * (state @ from_state[2].T))
        state = (1 - update) * candidate + update * state
        states.append(state)
    truth = torch.stack(states, 1) @ backbone.dense.weight.T + backbone.dense.bias
    out = backbone(embedded, torch.tensor([6, 6, 6]))
    torch.testing.assert_close(out, truth, rtol=1e-9, atol=1e-10)


def test_recurrent_layers_have_no_bias():
    names = {name for name, _ in GRU4Rec(4, hidden_size=6, num_layers=2).named_parameters()}
    assert not any(name.startswith("gru.bias") for name in names)


@pytest.mark.parametrize("name", ["hidden_size", "num_layers"])
def test_refuses(name):
    with pytest.raises(ValueError, match=f"{name}=0"):
        GRU4Rec(4, **{name: 0})
