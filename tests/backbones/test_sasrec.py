"""SASRec against RecBole's encoder, with the weights copied over."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recbole_compress.backbones import SASRec
from recbole_compress.backbones.sasrec import ACTIVATIONS

DIM, INNER, LAYERS, HEADS, MAX_LENGTH = 8, 12, 3, 2, 10


def copy_from_recbole(backbone, encoder, position_embedding, norm):
    backbone.position_embedding.load_state_dict(position_embedding.state_dict())
    backbone.norm.load_state_dict(norm.state_dict())
    for ours, theirs in zip(backbone.layers, encoder.layer, strict=True):
        attention, feed_forward = theirs.multi_head_attention, theirs.feed_forward
        parts = (attention.query, attention.key, attention.value)
        ours.query_key_value.weight.data = torch.cat([part.weight.data for part in parts])
        ours.query_key_value.bias.data = torch.cat([part.bias.data for part in parts])
        ours.attention_out.load_state_dict(attention.dense.state_dict())
        ours.attention_norm.load_state_dict(attention.LayerNorm.state_dict())
        ours.inner.load_state_dict(feed_forward.dense_1.state_dict())
        ours.inner_out.load_state_dict(feed_forward.dense_2.state_dict())
        ours.inner_norm.load_state_dict(feed_forward.LayerNorm.state_dict())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_equals_recbole_at_real_positions(activation):
    from recbole.model.layers import TransformerEncoder

    encoder = TransformerEncoder(
        n_layers=LAYERS,
        n_heads=HEADS,
        hidden_size=DIM,
        inner_size=INNER,
        hidden_act=activation,
    )
    position_embedding, norm = nn.Embedding(MAX_LENGTH, DIM), nn.LayerNorm(DIM, eps=1e-12)
    with torch.no_grad():
        for module in (encoder, norm):
            for parameter in module.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    backbone = SASRec(DIM, LAYERS, HEADS, INNER, MAX_LENGTH, activation=activation)
    copy_from_recbole(backbone, encoder, position_embedding, norm)
    backbone.eval(), encoder.eval()

    lengths, length = torch.tensor([1, 4, 7]), 7
    embedded = torch.randn(3, length, DIM)
    real = torch.arange(length) < lengths[:, None]
    # RecBole's get_attention_mask: causal and padding, as an additive mask.
    visible = torch.tril(real[:, None, None, :].expand(-1, -1, length, -1))
    additive_mask = torch.where(visible, 0.0, -10000.0)
    inputs = norm(embedded + position_embedding(torch.arange(length)))
    truth = encoder(inputs, additive_mask)[-1]
    out = backbone(embedded, lengths)
    torch.testing.assert_close(out[real], truth[real], rtol=1e-4, atol=1e-5)


def test_initial_weights():
    backbone = SASRec(64)
    for module in backbone.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)
        if isinstance(module, nn.Linear):
            assert not module.bias.any()


def test_too_long_a_sequence_is_an_error():
    backbone = SASRec(DIM, max_length=5)
    backbone(torch.zeros(1, 5, DIM), torch.tensor([5]))
    with pytest.raises(ValueError, match="6 positions, but only max_length=5"):
        backbone(torch.zeros(1, 6, DIM), torch.tensor([6]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": 3}, "num_heads=3: must divide embedding_dim=8"),
        ({"num_heads": 0}, "num_heads=0"),
        ({"activation": "gleu"}, "activation='gleu': did you mean 'gelu'"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        SASRec(DIM, **arguments)
