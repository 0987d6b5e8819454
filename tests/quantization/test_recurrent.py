"""Open recurrent layers against torch's own."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from recbole_compress.quantization.recurrent import OpenRecurrent


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bias": False},
        {"num_layers": 2, "batch_first": True},
        {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.5},
    ],
)
@pytest.mark.parametrize("with_state", [False, True])
def test_it_equals_torchs(kind, settings, with_state):
    layers = kind(5, 7, **settings).eval()
    ours = OpenRecurrent(layers)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in layers.named_parameters()]
    x = torch.randn(3, 4, 5, requires_grad=True)
    batch = 3 if settings.get("batch_first") else 4
    n = settings.get("num_layers", 1) * (1 + settings.get("bidirectional", False))
    states = tuple(torch.randn(n, batch, 7) for _ in range(1 if kind is nn.GRU else 2))
    state = (states[0] if kind is nn.GRU else states) if with_state else None
    gradients, results = [], []
    for module in (layers, ours):
        output, last = module(x, state)
        parts = (output, last) if kind is nn.GRU else (output, *last)
        results.append(parts)
        loss = sum(part.square().sum() for part in parts)
        gradients.append(torch.autograd.grad(loss, [x, *layers.parameters()]))
    for mine, theirs in zip(*results, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
    for mine, theirs in zip(*gradients, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4)


def test_packed_sequences_are_refused():
    packed = pack_padded_sequence(torch.randn(4, 2, 5), torch.tensor([4, 2]))
    with pytest.raises(TypeError, match="padded batches"):
        OpenRecurrent(nn.GRU(5, 7))(packed)


def test_only_gru_and_lstm_without_projections():
    for layers in (nn.RNN(3, 4), nn.LSTM(3, 4, proj_size=2)):
        with pytest.raises(ValueError, match="only a GRU or LSTM"):
            OpenRecurrent(layers)
