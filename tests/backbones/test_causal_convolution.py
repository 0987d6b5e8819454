"""The convolution is ``F.conv1d`` on left-padded input, gradients included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from recbole_compress.backbones import CausalConvolution


def test_a_fused_optimizers_step_is_seen():
    """It changes weights without torch noting it; a single row is read with a kept kernel."""
    convolution = CausalConvolution(3, 3, 2)
    optimizer = torch.optim.Adam(convolution.parameters(), lr=0.1, fused=True)
    x = torch.randn(2, 4, 3)
    for _ in range(2):
        convolution.train()
        convolution(x).square().sum().backward()
        optimizer.step()
        convolution.eval()
        with torch.no_grad():
            torch.testing.assert_close(convolution(x[:1]), convolution(x)[:1])


def reference(x, weight, bias, dilation):
    left_padded = F.pad(x.transpose(1, 2), ((weight.shape[2] - 1) * dilation, 0))
    return F.conv1d(left_padded, weight, bias, dilation=dilation).transpose(1, 2)


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 4),
    length=st.integers(1, 13),
    dims=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel_size=st.integers(1, 4),
    dilation=st.integers(1, 16),
)
def test_values_and_gradients_equal_conv1d(batch, length, dims, kernel_size, dilation):
    convolution = CausalConvolution(*dims, kernel_size).double()
    nn.init.normal_(convolution.bias)
    x = torch.randn(batch, length, dims[0], dtype=torch.double, requires_grad=True)
    ours, truth = (
        convolution(x, dilation),
        reference(x, convolution.weight, convolution.bias, dilation),
    )
    torch.testing.assert_close(ours, truth, rtol=1e-10, atol=1e-12)
    direction = torch.randn_like(ours)
    inputs = (x, convolution.weight, convolution.bias)
    for mine, theirs in zip(
        torch.autograd.grad(ours, inputs, direction),
        torch.autograd.grad(truth, inputs, direction),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 64])
def test_float32_at_working_size(batch):
    convolution = CausalConvolution(64, 64, 3)
    x = torch.randn(batch, 50, 64)
    truth = reference(x.double(), convolution.weight.double(), convolution.bias.double(), 8)
    out = convolution(x, 8)
    assert out.is_contiguous()  # the layer norm that follows must not copy
    torch.testing.assert_close(out.double(), truth, rtol=1e-5, atol=1e-5)


def test_last_tap_reads_the_current_position():
    convolution = CausalConvolution(1, 1, 3)
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([[[100.0, 10.0, 1.0]]]))
    x = torch.arange(1.0, 6.0).view(1, 5, 1)
    assert convolution(x, dilation=2).flatten().tolist() == [1, 2, 13, 24, 135]


def test_weights_fit_conv1d():
    conv1d = nn.Conv1d(4, 6, 3)
    CausalConvolution(4, 6, 3).load_state_dict(conv1d.state_dict())


def test_initial_kernels_are_small_truncated_and_all_different():
    first, second = CausalConvolution(64, 64, 3), CausalConvolution(64, 64, 3)
    assert not torch.equal(first.weight, second.weight)
    assert first.weight.abs().max() <= 0.04
    # A normal cut at two standard deviations keeps 0.8796 of its spread.
    assert first.weight.std().item() == pytest.approx(0.02 * 0.8796, rel=0.03)
    assert abs(first.weight.mean().item()) < 1e-3
    assert not first.bias.any()


@pytest.mark.parametrize("arguments", [(0, 4, 3), (4, 0, 3), (4, 4, 0)])
def test_refuses_empty_shapes(arguments):
    with pytest.raises(ValueError, match="=0: a convolution needs 1 or more"):
        CausalConvolution(*arguments)
