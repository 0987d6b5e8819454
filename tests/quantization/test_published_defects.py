"""What the released quantizer of PRecQ gets wrong, each on a model quantized here.

The defects of its game are in ``tests/trainers/test_datafree.py``.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from recbole_compress.quantization import QuantizationSpec, freeze_, quantize_
from tests.quantization.models import made, scores_of, some_requests

PAPERS = ["GRU4Rec", "SASRec", "BERT4Rec"]
papers_models = pytest.mark.parametrize("name", PAPERS)


def quantized(name, bits=4, **settings):
    _, model = made(name)
    quantize_(model, QuantizationSpec(bits, bits, **settings))
    return model


def quantized_tensors(model):
    """Name and value, as the model reads it, of everything on a grid."""
    for path, module in model.named_modules():
        if parametrize.is_parametrized(module):
            for attribute in module.parametrizations:
                yield f"{path}.{attribute}", getattr(module, attribute).detach()


@papers_models
def test_rounding_is_to_the_nearest_and_never_by_chance(name):
    """The released rounding is a Bernoulli draw, in evaluation too: scores change per call."""
    model = quantized(name, activation_bits=8, learn_steps=True)
    torch.manual_seed(1)
    first = scores_of(model)
    torch.manual_seed(2)
    assert torch.equal(scores_of(model), first)
    layer = nn.Linear(8, 8)
    weight = layer.weight.detach().clone()
    quantize_(layer, QuantizationSpec(3, range_finder="absolute_maximum"))
    step = layer.parametrizations.weight[0].scales.abs()
    assert ((layer.weight - weight).abs() <= step / 2 + 1e-6).all()
    torch.manual_seed(3)
    trained = layer.train().weight.clone()
    assert torch.equal(trained, layer.eval().weight)


@papers_models
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_there_are_no_more_levels_than_bits_tell_apart(name, bits):
    """The released grid has 2 ** bits - 1 levels per sign: 31 at 4 bits, 7 at 2."""
    model = quantized(name, bits, granularity="tensor")
    tensors = dict(quantized_tensors(model))
    assert "item_embedding.weight" in tensors
    for path, value in tensors.items():
        levels = len(value[1:].unique())  # the first row may be padding
        assert 2 ** (bits - 1) < levels <= 2**bits, path


@papers_models
def test_eight_bits_do_not_overflow(name):
    """The released codes leave int8 at 8 bits: weights are off by three quarters."""
    _, full = made(name)
    model = quantized(name, 8)
    weights = dict(full.named_parameters())
    for path, value in quantized_tensors(model):
        weight = weights[path].detach()
        assert (value - weight).norm() < 0.01 * weight.norm(), path
        assert torch.equal(value.sign() * weight.sign() < 0, torch.zeros_like(value).bool()), path


@papers_models
def test_biases_stay_what_they_were(name):
    """The released ones are "quantized to 32 bits" and are next to 0 in evaluation."""
    _, full = made(name)
    with torch.no_grad():
        for parameter in full.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.5)
    model = made(name)[1]
    model.load_state_dict(full.state_dict())
    quantize_(model, QuantizationSpec(2, 2, activation_bits=8))
    for _ in range(2):
        now = dict(model.named_parameters())
        vectors = {n: p for n, p in full.named_parameters() if p.dim() == 1 and "weight" not in n}
        assert vectors
        for path, bias in vectors.items():
            assert torch.equal(now[path], bias) and bias.abs().mean() > 0.1, path
        freeze_(model)
        model.eval()


@papers_models
def test_the_first_call_is_as_quantized_as_any(name):
    """The first ten calls of a released layer are in full precision: less than one sequence."""
    model = quantized(name, 2, learn_steps=True).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    first = scores_of(model)
    for _ in range(11):
        scores_of(model)
    assert torch.equal(scores_of(model), first)
    assert torch.equal(scores_of(model.eval()), first)
    _, full = made(name)
    assert not torch.allclose(first, scores_of(full), atol=0.1)


@papers_models
def test_layers_have_the_weights_of_the_model_that_was_trained(name):
    """The released layers are drawn anew: what it calls post-quantization is an untrained model."""
    _, full = made(name)
    weights = dict(full.named_parameters())
    for path, value in quantized_tensors(quantized(name, 4)):
        weight = weights[path].detach()
        assert torch.cosine_similarity(value.flatten(), weight.flatten(), 0) > 0.98, path
    best = scores_of(full)[:, 1:].topk(10).indices
    kept = scores_of(quantized(name, 8))[:, 1:].topk(10).indices
    assert (kept.unsqueeze(2) == best.unsqueeze(1)).any(2).float().mean() > 0.8


@papers_models
def test_every_way_to_the_items_reads_integers(name):
    """The released item table is quantized only where it is called, and it is indexed everywhere.

    So nothing may change when the full-precision numbers behind the grid do, within their cells.
    """
    model = quantized(name, 2, activation_bits=8)
    requests = some_requests(model)

    def everything():
        torch.manual_seed(0)
        with torch.no_grad():
            return [
                model.full_sort_predict(requests),
                model.predict(requests),
                model.item_embedding.weight.sum(0),
                model.item_embedding(torch.arange(9)),
            ]

    before = everything()
    grids = dict(quantized_tensors(model))
    with torch.no_grad():
        for path, value in grids.items():
            owner, _, attribute = path.rpartition(".")
            chain = model.get_submodule(owner).parametrizations[attribute]
            chain.original.copy_(0.8 * value + 0.2 * chain.original)
    for now, then in zip(everything(), before, strict=True):
        assert torch.equal(now, then)


@papers_models
def test_tables_and_all_matrices_are_quantized_and_activations_rounded(name):
    """The released code quantizes seven matrices of a GRU, no table and no activation."""
    _, model = made(name)
    report = quantize_(model, QuantizationSpec(4, 2, activation_bits=8))
    for row in report.rows:
        if len(row.shape) > 1 and "position" not in row.name:
            assert row.bits == (2 if "item_embedding" in row.name else 4), row
            assert row.activation_bits == 8, row
    rounded = scores_of(model)
    _, model = made(name)
    quantize_(model, QuantizationSpec(4, 2))
    assert not torch.equal(rounded, scores_of(model))


def test_a_recurrent_layer_starts_from_zeros():
    """The released GRU starts from a random state, at test time too."""
    model = quantized("GRU4Rec", 4)
    x = torch.randn(3, 5, 16)
    with torch.no_grad():
        torch.manual_seed(1)
        first, _ = model.gru_layers(x)
        torch.manual_seed(2)
        assert torch.equal(model.gru_layers(x)[0], first)
        zeros = torch.zeros(model.gru_layers.num_layers, 3, 24)
        assert torch.equal(model.gru_layers(x, zeros)[0], first)
