"""Every sequential model is quantized, runs, is packed, saved and loaded, to the last bit."""

from __future__ import annotations

import copy
import io

import pytest
import torch

from recbole_compress.quantization import (
    QuantizationSpec,
    calibrating,
    freeze_,
    integer_parameters,
    manifest,
    packed_structure_,
    quantize_,
)
from tests.quantization.models import OURS, STOCK, VARIANTS, made, scores_of, some_requests

EVERY = [(name, {}) for name in (*STOCK, *OURS)]
EVERY += [("CpRecSASRec", variant) for variant in VARIANTS.values()]
NAMES = [*STOCK, *OURS, *VARIANTS]
every_model = pytest.mark.parametrize("name, settings", EVERY, ids=NAMES)

W4A8 = QuantizationSpec(weight_bits=4, table_bits=4, activation_bits=8)


def saved_and_loaded(model, fresh):
    file = io.BytesIO()
    torch.save({"described": manifest(model), "state": model.state_dict()}, file)
    size = file.tell()
    file.seek(0)
    read = torch.load(file, weights_only=True)
    packed_structure_(fresh, read["described"])
    fresh.load_state_dict(read["state"])
    return fresh.eval(), size


@every_model
@pytest.mark.parametrize("activation_bits", [32, 8])
def test_scores_survive_packing_saving_and_loading(name, settings, activation_bits):
    _, model = made(name, **settings)
    before = scores_of(model)
    spec = QuantizationSpec(weight_bits=4, table_bits=3, activation_bits=activation_bits)
    report = quantize_(model, spec)
    quantized = scores_of(model)
    real = torch.isfinite(before)
    assert torch.equal(real, torch.isfinite(quantized)) and not torch.equal(before, quantized)
    freeze_(model)
    assert torch.equal(scores_of(model), quantized)
    assert not any(p.dim() > 1 and p.numel() > 500 for p in model.parameters())
    loaded, size = saved_and_loaded(model, made(name, **settings)[1])
    assert torch.equal(scores_of(loaded), quantized)
    stored = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    assert size < stored + 3_000 + 700 * len(model.state_dict())
    _, full = made(name, **settings)
    others = dict(full.state_dict())
    for parameter, _ in full.named_parameters():
        del others[parameter]
    assert stored == report.size_bytes + sum(t.numel() * t.element_size() for t in others.values())


@every_model
def test_eight_bits_change_next_to_nothing(name, settings):
    _, model = made(name, **settings)
    before = scores_of(model)
    quantize_(model, QuantizationSpec(8, 8))
    after = scores_of(model)
    real = torch.isfinite(before)
    error = (after[real] - before[real]).square().mean() / before[real].var()
    assert error < 1e-2


@every_model
def test_a_request_scores_alone_as_it_does_among_others(name, settings):
    """Rounded activations too: a token's integers do not depend on what else is in the batch."""
    _, model = made(name, **settings)
    quantize_(model, W4A8)
    together = scores_of(model)
    requests = some_requests(model)
    with torch.no_grad():
        for row in range(3):
            alone = model.full_sort_predict(requests[row : row + 1]).reshape(-1)
            close = torch.isclose(alone, together[row], rtol=1e-3, atol=1e-3)
            # rounding of sums may differ in the last bit and then tip a number over half a step
            assert close.float().mean() > 0.5, name


@every_model
def test_it_trains_and_its_steps_learn(name, settings):
    _, model = made(name, **settings)
    quantize_(model, QuantizationSpec(2, 2, activation_bits=8, learn_steps=True))
    model.train()
    steps = {n: p for n, p in model.named_parameters() if n.endswith(".scales")}
    assert steps
    scores = model.full_sort_predict(some_requests(model)).reshape(7, -1)[:, 1:]
    scores.log_softmax(-1)[:, :9].sum().backward()
    moved = [n for n, p in steps.items() if p.grad is not None and p.grad.any()]
    assert len(moved) >= len(steps) * 0.5, sorted(set(steps) - set(moved))


@every_model
def test_static_ranges_are_found_and_kept(name, settings):
    _, model = made(name, **settings)
    spec = QuantizationSpec(8, 8, activation_bits=8, activation_range="static")
    quantize_(model, spec)
    with calibrating(model):
        scores_of(model, 50)
    quantized = scores_of(model)
    freeze_(model)
    loaded, _ = saved_and_loaded(model, made(name, **settings)[1])
    assert torch.equal(scores_of(loaded), quantized)


@every_model
@pytest.mark.parametrize("activation_range", ["dynamic", "static"])
def test_single_items_score_as_among_all(name, settings, activation_range):
    """Four bits, where rounded hidden states are far from the others."""
    _, model = made(name, **settings)
    spec = QuantizationSpec(8, 8, activation_bits=4, activation_range=activation_range)
    quantize_(model, spec)
    with calibrating(model):
        scores_of(model, 50)
    requests = some_requests(model)
    for _ in range(2):
        of_all = scores_of(model).gather(1, requests[model.ITEM_ID].unsqueeze(1)).squeeze(1)
        with torch.no_grad():
            alone = model.predict(requests)
        torch.testing.assert_close(alone, of_all, atol=1e-4 * of_all.abs().amax().item(), rtol=0)
        freeze_(model)


@every_model
def test_the_report_and_the_integers_name_every_parameter(name, settings):
    _, model = made(name, **settings)
    names = [n for n, _ in model.named_parameters()]
    report = quantize_(model, W4A8)
    assert [row.name for row in report.rows] == names
    assert {row.name for row in report.rows if row.bits < 32} == set(integer_parameters(model))
    for row in report.full_precision:
        assert row.reason, row
    assert all(
        row.reason in ("a vector", "normalisation") or "position" in row.name
        for row in report.full_precision
    ), report


@every_model
def test_a_copy_is_its_own_model(name, settings):
    _, model = made(name, **settings)
    quantize_(model, W4A8)
    before = scores_of(model)
    twin = copy.deepcopy(model)
    assert torch.equal(scores_of(twin), before)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    assert not torch.equal(scores_of(model), before)  # no cache hides the change
    assert torch.equal(scores_of(twin), before)


def test_a_model_that_keeps_its_data_set_is_copied_as_well():
    """FEARec does; made without data, what stands in for that is copied with the model."""
    _, model = made("FEARec", hidden_size=16, inner_size=32)
    assert torch.equal(scores_of(copy.deepcopy(model)), scores_of(model))


# -- models that score in ways of their own --------------------------------------------------------


def only_tables(name, activation_bits, activation_range="dynamic"):
    _, model = made(name, embedding_size=16)
    spec = QuantizationSpec(
        32, 8, activation_bits=activation_bits, activation_range=activation_range
    )
    report = quantize_(model, spec)
    with calibrating(model):
        scores_of(model, 50)
    return model, {row.name: row for row in report.rows}


@pytest.mark.parametrize("activation_range", ["dynamic", "static"])
@pytest.mark.parametrize(
    "name, scored",
    [
        ("NPE", {"item_embedding.weight"}),  # relu(weight)
        ("CORE", {"item_embedding.weight"}),  # normalize(weight)
        ("FPMC", {"IU_emb.weight", "IL_emb.weight"}),  # single items by matmul, example by example
    ],
)
def test_tables_round_that_are_transformed_before_they_score(name, scored, activation_range):
    model, rows = only_tables(name, 2, activation_range)
    assert {n for n, row in rows.items() if row.activation_bits == 2} == scored
    of_all = scores_of(model)
    full, _ = only_tables(name, 32)
    assert (of_all - scores_of(full)).abs().max() > 0.01 * of_all.abs().max()
    requests = some_requests(model)
    for _ in range(2):
        with torch.no_grad():
            alone = model.predict(requests)
            unrounded = full.predict(requests)
        assert not torch.allclose(alone, unrounded, rtol=1e-3)
        if name != "CORE":  # whose predict does not normalise, at any precision
            column = of_all.gather(1, requests[model.ITEM_ID].unsqueeze(1)).squeeze(1)
            torch.testing.assert_close(alone, column, atol=1e-4, rtol=1e-4)
        freeze_(model)
        assert torch.equal(scores_of(model), of_all)


def test_the_report_promises_no_rounding_where_there_is_no_product():
    model, rows = only_tables("TransRec", 2)
    assert {row.activation_bits for row in rows.values()} == {32}
    full, _ = only_tables("TransRec", 32)
    assert torch.equal(scores_of(model), scores_of(full))
    assert rows["bias.weight"].reason == "a vector" and rows["item_embedding.weight"].bits == 8


def test_a_report_leaves_modes_and_random_numbers_as_they_were():
    _, model = made("FPMC", embedding_size=16)
    model.train().UI_emb.eval()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    quantize_(model, QuantizationSpec(8, 8, activation_bits=8, activation_range="static"))
    assert torch.equal(torch.rand(3), expected)
    assert model.training and model.IU_emb.training and not model.UI_emb.training
