"""Readouts: soft attention against its definition, causal, blind to padding, in bounded memory."""

from __future__ import annotations

import pytest
import torch

from recbole_compress.backbones import LastPosition, SoftAttentionReadout, readout

DIM, LENGTH = 6, 7
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture
def attention():
    torch.manual_seed(0)
    module = SoftAttentionReadout(DIM)
    torch.nn.init.normal_(module.key.bias)
    return module


def naive(module, states):
    """One sequence of states ``(n, DIM)``, as the paper's code has it, without its padding."""
    mean = states.mean(0)
    total = torch.zeros(DIM)
    for state in states:
        mixed = torch.sigmoid(module.key(torch.tanh(state)) + module.query(mean))
        total = total + module.score(mixed) * state
    return total


def test_every_prefix_reads_as_it_would_alone(attention):
    states = torch.randn(2, LENGTH, DIM)
    out = attention(states)
    for row in range(2):
        for end in range(1, LENGTH + 1):
            torch.testing.assert_close(
                out[row, end - 1], naive(attention, states[row, :end]), **TOLERANCE
            )


@pytest.mark.parametrize("kind", ["attention", "last"])
def test_last_is_the_vector_at_the_sequences_end(attention, kind):
    module = attention if kind == "attention" else LastPosition()
    states, lengths = torch.randn(3, LENGTH, DIM), torch.tensor([1, 4, LENGTH])
    expected = module(states)[torch.arange(3), lengths - 1]
    torch.testing.assert_close(module.last(states, lengths), expected, **TOLERANCE)
    rubbish = states.clone()
    rubbish[0, 1:], rubbish[1, 4:] = torch.nan, torch.inf
    torch.testing.assert_close(module.last(rubbish, lengths), expected, **TOLERANCE)
    assert module.last(states, torch.tensor([0, 4, LENGTH])).isfinite().all()


def test_members_are_read_as_if_the_others_were_not_there(attention):
    states = torch.randn(1, LENGTH, DIM)
    members = torch.tensor([[False, True, False, True, True, False, True]])
    out = attention(states, members)
    assert not out[0, 0].any()  # no member yet
    for end in range(2, LENGTH + 1):
        only = states[0, :end][members[0, :end]]
        torch.testing.assert_close(out[0, end - 1], naive(attention, only), **TOLERANCE)
        last = attention.last(states, torch.tensor([end]), members)
        torch.testing.assert_close(last[0], out[0, end - 1], **TOLERANCE)


@pytest.mark.parametrize("positions_at_a_time", [1, 2, 5])
def test_chunks_change_neither_values_nor_gradients(attention, monkeypatch, positions_at_a_time):
    def run():
        states = torch.randn(2, LENGTH, DIM, generator=torch.Generator().manual_seed(3))
        states.requires_grad_()
        attention.zero_grad()
        out = attention(states)
        out.square().sum().backward()
        return [out, states.grad, *(p.grad.clone() for p in attention.parameters())]

    whole = run()
    elements = positions_at_a_time * 2 * LENGTH * DIM
    monkeypatch.setattr(readout, "_BUFFER_ELEMENTS", elements)
    sizes = []
    attention.score.register_forward_hook(lambda _, inputs, out: sizes.append(inputs[0].numel()))
    torch.testing.assert_close(run(), whole, **TOLERANCE)
    assert max(sizes) <= elements < 2 * LENGTH * LENGTH * DIM


def test_gradients_reach_every_parameter(attention):
    attention(torch.randn(2, LENGTH, DIM)).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in attention.parameters())
