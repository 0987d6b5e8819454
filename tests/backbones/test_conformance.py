"""Every backbone keeps the promises of ``Backbone``."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from recbole_compress import backbones
from recbole_compress.backbones import Backbone
from tests.backbones.variants import DIM, VARIANTS

LENGTH = 12
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}  # float32; kernels differ with the padded length


def run(backbone, embedded, lengths=None):
    if lengths is None:
        lengths = torch.full((embedded.shape[0],), embedded.shape[1])
    with torch.no_grad():
        return backbone(embedded, lengths)


def test_every_backbone_is_tested():
    exported = [getattr(backbones, name) for name in backbones.__all__]
    classes = {each for each in exported if isinstance(each, type)}
    found = {each for each in classes if issubclass(each, Backbone)}
    assert {type(make()) for make in VARIANTS.values()} == found - {Backbone}


def test_shape_dtype_and_attributes(backbone):
    out = run(backbone, torch.randn(3, LENGTH, DIM))
    assert out.shape == (3, LENGTH, DIM) and out.dtype == torch.float32
    assert torch.isfinite(out).all()
    assert backbone.embedding_dim == DIM
    assert backbone.receptive_field is None or backbone.receptive_field > 1


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("position", [0, 1, 5, LENGTH - 1])
def test_causal(backbone, batch, position):
    embedded = torch.randn(batch, LENGTH, DIM)
    changed = embedded.clone()
    changed[:, position] += torch.randn(DIM)
    before, after = run(backbone, embedded), run(backbone, changed)
    torch.testing.assert_close(after[:, :position], before[:, :position], **TOLERANCE)
    assert ((after - before)[:, position].abs().amax(-1) > 1e-3).all()


def test_values_in_the_padding_do_not_matter(backbone):
    lengths = torch.tensor([1, 4, LENGTH])
    embedded = torch.randn(3, LENGTH, DIM)
    other = embedded.clone()
    real = torch.arange(LENGTH) < lengths[:, None]
    other[~real] = 100 * torch.randn(int((~real).sum()), DIM)
    first, second = run(backbone, embedded, lengths), run(backbone, other, lengths)
    torch.testing.assert_close(first[real], second[real], **TOLERANCE)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_amount_of_padding_does_not_matter(backbone, batch, length):
    embedded = torch.randn(batch, length, DIM)
    lengths = torch.full((batch,), length)
    alone = run(backbone, embedded, lengths)
    for padded_length in (5, 50):
        padded = torch.zeros(batch, padded_length, DIM)
        padded[:, :length] = embedded
        out = run(backbone, padded, lengths)[:, :length]
        torch.testing.assert_close(out, alone, **TOLERANCE)


def test_one_sequence_equals_its_row_in_a_batch(backbone):
    embedded = torch.randn(4, LENGTH, DIM)
    rows = torch.cat([run(backbone, row[None]) for row in embedded])
    torch.testing.assert_close(rows, run(backbone, embedded), **TOLERANCE)


@pytest.mark.parametrize("lengths", [[1], [5], [LENGTH], [0], [LENGTH, 1, 4], [3, 3]])
@pytest.mark.parametrize("training", [False, True])
def test_last_state_is_the_last_of_the_states(backbone, lengths, training):
    lengths = torch.tensor(lengths)
    embedded = torch.randn(len(lengths), LENGTH, DIM)
    if training:  # random numbers may be drawn in another order, so without any
        backbone.train()
        for module in backbone.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.0
    states = run(backbone, embedded, lengths)
    expected = states[torch.arange(len(lengths)), (lengths - 1).clamp(min=0)]
    with torch.no_grad():
        for _ in range(2):  # what is kept from the first request serves the second
            state = backbone.last_state(embedded, lengths)
            torch.testing.assert_close(state, expected, **TOLERANCE)


def test_last_state_has_the_gradients_of_the_states(backbone):
    one, other = (torch.randn(1, LENGTH, DIM).requires_grad_() for _ in range(2))
    other.data.copy_(one.data)
    length = torch.tensor([LENGTH])
    parameters = list(backbone.parameters())
    weights = torch.randn(DIM)
    first = torch.autograd.grad(
        (backbone.last_state(one, length) * weights).sum(), [one, *parameters]
    )
    second = torch.autograd.grad(
        (backbone(other, length)[:, -1] * weights).sum(), [other, *parameters]
    )
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_last_state_follows_its_weights(backbone):
    embedded, length = torch.randn(1, LENGTH, DIM), torch.tensor([LENGTH])
    with torch.no_grad():
        before = backbone.last_state(embedded, length)
        for parameter in backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        after = backbone.last_state(embedded, length)
    torch.testing.assert_close(after, run(backbone, embedded)[:, -1], **TOLERANCE)
    assert not torch.allclose(after, before, atol=1e-3)


@pytest.mark.parametrize("batch", [1, 3])
def test_gradient_reaches_every_parameter_and_the_input(backbone, batch):
    embedded = torch.randn(batch, LENGTH, DIM, requires_grad=True)
    out = backbone(embedded, torch.full((batch,), LENGTH))
    (out * torch.randn_like(out)).sum().backward()
    assert embedded.grad.abs().amax(-1).min() > 0
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_all_zero_rows_have_finite_gradients(make):
    """What the padding item embeds to, where a layer norm with a tiny eps could blow up."""
    backbone = make().train()
    embedded = torch.zeros(2, LENGTH, DIM, requires_grad=True)
    backbone(embedded, torch.tensor([LENGTH, 1])).sum().backward()
    for gradient in (embedded.grad, *(p.grad for p in backbone.parameters())):
        assert gradient.abs().max() < 1e3


def test_state_dict_round_trip(make):
    first, second = make().eval(), make().eval()
    embedded = torch.randn(2, LENGTH, DIM)
    assert not torch.equal(run(first, embedded), run(second, embedded))
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(run(second, embedded), run(first, embedded), rtol=0, atol=0)


def test_dropout_only_in_training(make):
    backbone = make()
    embedded = torch.randn(2, LENGTH, DIM)
    assert torch.equal(run(backbone.eval(), embedded), run(backbone, embedded))
    has_dropout = any(m.p > 0 for m in backbone.modules() if isinstance(m, torch.nn.Dropout))
    backbone.train()
    assert torch.equal(run(backbone, embedded), run(backbone, embedded)) != has_dropout


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("length", [1, LENGTH])
def test_macs_are_the_flops_torch_counts(backbone, batch, length):
    # Torch counts attention on the CPU only where it is done as plain matrix products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run(backbone, torch.randn(batch, length, DIM))
    assert 2 * batch * backbone.macs(length) == counter.get_total_flops()


@pytest.mark.parametrize("length", [1, LENGTH])
def test_last_state_macs_are_the_flops_torch_counts(backbone, length):
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        backbone.last_state(torch.randn(1, length, DIM), torch.tensor([length]))
    assert 2 * backbone.last_state_macs(length) == counter.get_total_flops()
    assert backbone.last_state_macs(length) <= backbone.macs(length)


def test_an_empty_batch_has_no_last_states(backbone):
    backbone.eval()
    lengths = torch.zeros(0, dtype=torch.long)
    assert backbone.last_state(torch.zeros(0, 5, DIM), lengths).shape == (0, DIM)
