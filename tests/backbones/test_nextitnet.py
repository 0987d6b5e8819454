"""NextItNet against a plain ``nn.Conv1d`` implementation, and its receptive field."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from recbole_compress.backbones import NextItNet

DIM = 6


def causal_conv1d(weight, bias, dilation, x):
    dim_out, dim_in, kernel_size = weight.shape
    conv = nn.Conv1d(dim_in, dim_out, kernel_size, dilation=dilation).to(weight.dtype)
    conv.weight, conv.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    channels_first = nn.ConstantPad1d(((kernel_size - 1) * dilation, 0), 0.0)(x.permute(0, 2, 1))
    return conv(channels_first).permute(0, 2, 1)


def layer_norm(norm, x):
    centred = x - x.mean(-1, keepdim=True)
    return norm.weight * centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-8).sqrt() + norm.bias


def naive_b(backbone, dilations, x):
    kernels = iter([(conv.weight, conv.bias) for conv in backbone.convolutions])
    for dilation, block in zip(dilations, backbone.residual_blocks, strict=True):
        y = F.relu(layer_norm(block.norms[0], causal_conv1d(*next(kernels), dilation, x)))
        y = F.relu(layer_norm(block.norms[1], causal_conv1d(*next(kernels), 2 * dilation, y)))
        x = x + y
    return x


def naive_a(backbone, dilations, x):
    kernels = iter([(conv.weight, conv.bias) for conv in backbone.convolutions])
    for dilation, block in zip(dilations, backbone.residual_blocks, strict=True):
        y = causal_conv1d(*next(kernels), 1, F.relu(layer_norm(block.norms[0], x)))
        y = causal_conv1d(*next(kernels), dilation, F.relu(layer_norm(block.norms[1], y)))
        y = causal_conv1d(*next(kernels), 1, F.relu(layer_norm(block.norms[2], y)))
        x = x + y
    return x


def moved(backbone):
    """Double precision, every parameter off its initial value."""
    backbone = backbone.double()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return backbone


@pytest.mark.parametrize(("kind", "naive"), [("a", naive_a), ("b", naive_b)])
@pytest.mark.parametrize("dilations", [(1,), (1, 4, 1, 4), (3, 1, 2)])
@pytest.mark.parametrize("kernel_size", [2, 3])
def test_equals_the_naive_network(kind, naive, dilations, kernel_size):
    backbone = moved(NextItNet(DIM, dilations, kernel_size, residual_block=kind))
    embedded = torch.randn(3, 20, DIM, dtype=torch.double)
    out = backbone(embedded, torch.full((3,), 20))
    torch.testing.assert_close(out, naive(backbone, dilations, embedded), rtol=1e-9, atol=1e-10)


def test_type_a_is_half_as_wide_inside():
    backbone = NextItNet(8, dilations=(2,), kernel_size=3, residual_block="a")
    shapes = [tuple(conv.weight.shape) for conv in backbone.convolutions]
    assert shapes == [(4, 8, 1), (4, 4, 3), (8, 4, 1)]
    assert [norm.normalized_shape for norm in backbone.residual_blocks[0].norms] == [
        (8,),
        (4,),
        (4,),
    ]


@pytest.mark.parametrize(
    ("dilations", "kernel_size", "kind", "expected"),
    [
        ((1, 4), 3, "b", 31),
        ((1, 4, 1, 4), 3, "b", 61),
        ((1, 4) * 5, 3, "b", 151),
        ((1, 2, 4), 3, "a", 15),
        ((2,), 2, "b", 7),
        ((5,), 1, "b", 1),
    ],
)
def test_receptive_field(dilations, kernel_size, kind, expected):
    """A change as far back as the field reaches is felt, one position further is not."""
    backbone = moved(NextItNet(DIM, dilations, kernel_size, residual_block=kind))
    assert backbone.receptive_field == expected
    length = expected + 3
    # The gradient of the last state shows which positions it reads; relu may close every path
    # from a single far position, so several directions and sequences are added up.
    felt = torch.zeros(length, dtype=torch.double)
    for _ in range(20):
        embedded = torch.randn(4, length, DIM, dtype=torch.double, requires_grad=True)
        last = backbone(embedded, torch.full((4,), length))[:, -1]
        (last * torch.randn_like(last)).sum().backward()
        felt += embedded.grad.abs().sum((0, 2))
    assert felt[-expected] > 0
    assert not felt[:-expected].any()


def test_short_sequences_keep_their_own_items():
    """A trunk read at the last padded position would answer the same to every short history."""
    backbone = NextItNet(DIM, dilations=(1, 4))
    first, second = torch.zeros(2, 2, 50, DIM)
    first[:, :5], second[:, :5] = torch.randn(2, 2, 5, DIM)
    lengths = torch.tensor([5, 5])
    states = [backbone(x, lengths)[:, 4] for x in (first, second)]
    assert (states[0] - states[1]).abs().max() > 1e-2


@pytest.mark.parametrize("scheme", ["cross_layer", "adjacent_layer"])
def test_type_a_refuses_to_share_between_shapes(scheme):
    with pytest.raises(ValueError, match=f"'{scheme}' with residual_block='a'.*'cross_block'"):
        NextItNet(8, residual_block="a", layer_sharing=scheme)


@pytest.mark.parametrize(("scheme", "n_kernels"), [("cross_block", 3), ("adjacent_block", 6)])
def test_type_a_shares_between_residual_blocks(scheme, n_kernels):
    backbone = NextItNet(8, dilations=(1, 2, 4), residual_block="a", layer_sharing=scheme)
    assert len(backbone.convolutions) == n_kernels


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"residual_block": "c"}, "residual_block='c': choose one of a, b"),
        ({"dilations": ()}, r"dilations=\[\]"),
        ({"dilations": (1, 0)}, r"dilations=\[1, 0\]"),
        ({"dilations": (1.5, 2)}, r"dilations=\[1.5, 2\]: give one whole number"),
        ({"dilations": (1, "x")}, r"dilations=\[1, 'x'\]"),
        ({"kernel_size": 0}, "kernel_size=0"),
        ({"embedding_dim": 0}, "embedding_dim=0"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        NextItNet(**{"embedding_dim": 8, **arguments})
