"""Quantization in place: what becomes of a module."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recbole_compress.errors import QuantizationError
from recbole_compress.functional.quantization import dequantize, quantize
from recbole_compress.quantization import (
    ActivationQuantizer,
    QuantizationSpec,
    calibrating,
    freeze_,
    integer_parameters,
    manifest,
    packed_structure_,
    quantize_,
)
from recbole_compress.quantization.scoring_table import ScoringTable


class Tied(nn.Module):
    """Two modules that share a table, and what RecBole's models have besides."""

    def __init__(self):
        super().__init__()
        self.item_embedding = nn.Embedding(30, 16, padding_idx=0)
        self.position_embedding = nn.Embedding(5, 16)
        self.norm = nn.LayerNorm(16)
        self.rnn = nn.RNN(16, 16, batch_first=True)
        self.memory = nn.Parameter(torch.randn(16, 8))
        self.out = nn.Linear(16, 30, bias=False)
        self.out.weight = self.item_embedding.weight

    def forward(self, ids):
        x = self.norm(self.item_embedding(ids) + self.position_embedding.weight[: ids.shape[1]])
        x, _ = self.rnn(x)
        return self.out(x), x[:, -1] @ self.memory


def test_a_shared_table_stays_shared_and_is_stored_once():
    model = Tied()
    report = quantize_(model, QuantizationSpec(4, 2))
    assert [row.name for row in report.rows].count("item_embedding.weight") == 1
    assert torch.equal(model.item_embedding.weight, model.out.weight)
    ids = torch.randint(30, (4, 5))
    before = model(ids)
    freeze_(model)
    fresh = Tied()
    packed_structure_(fresh, manifest(model))
    stored = {t.data_ptr() for n, t in model.state_dict().items() if n.endswith("original")}
    assert len(stored) == 2  # the table, once, and the memory
    fresh.load_state_dict(model.state_dict())
    for ours, theirs in zip(fresh(ids), before, strict=True):
        assert torch.equal(ours, theirs)


def test_what_cannot_be_quantized_is_named_with_its_reason():
    report = quantize_(Tied(), QuantizationSpec(4, 2))
    reasons = {row.name: row.reason for row in report.full_precision}
    assert "RNN reads on its own" in reasons["rnn.weight_ih_l0"]
    assert reasons["norm.weight"] == "normalisation"
    assert reasons["position_embedding.weight"] == "as the settings say"
    assert "memory" not in reasons and "item_embedding.weight" not in reasons


def test_biases_and_norms_are_quantized_only_where_they_are_asked_for_by_name():
    def made():
        return nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.GRU(4, 4), nn.Linear(4, 4))

    usual = QuantizationSpec(8, overrides={"*": {"bits": 4}, "1": {"bits": 4}, "*.weight": {}})
    left = {row.name for row in quantize_(made(), usual).full_precision}
    assert left == {
        *("0.bias", "1.weight", "1.bias", "2.bias_ih_l0", "2.bias_hh_l0", "3.bias"),
    }
    asked = {"0.bias": 3, "1.weight": 5, "2.bias_ih_l0": 6, "3.bias": 8}
    overrides = {name: {"bits": bits} for name, bits in asked.items()}
    model, x = made(), torch.randn(5, 2, 6)
    with torch.no_grad():
        for vector in ("0.bias", "1.weight", "1.bias"):
            model.get_parameter(vector).normal_()
    numbers = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    report = quantize_(model, QuantizationSpec(32, 32, 8, overrides=overrides))
    assert {row.name: row.bits for row in report.rows if row.bits < 32} == asked
    # No matrix is quantized, so what enters the products stays as it is.
    assert {row.activation_bits for row in report.rows} == {32}
    for at, name in ((0, "bias"), (1, "weight"), (3, "bias")):
        vector = numbers[f"{at}.{name}"].unsqueeze(0)
        expected = dequantize(*quantize(vector, asked[f"{at}.{name}"]), asked[f"{at}.{name}"])
        torch.testing.assert_close(getattr(model[at], name), expected[0], rtol=0, atol=0)
    before = model[0](x), model[1](x[..., :4]), model[2](x[..., :4])[0]
    freeze_(model)
    fresh = made()
    packed_structure_(fresh, manifest(model))
    fresh.load_state_dict(model.state_dict())
    for each in (model, fresh):
        after = each[0](x), each[1](x[..., :4]), each[2](x[..., :4])[0]
        assert all(torch.equal(*pair) for pair in zip(after, before, strict=True))


def test_weights_are_those_of_the_integers():
    layer = nn.Linear(64, 8)
    weight = layer.weight.detach().clone()
    quantize_(layer, QuantizationSpec(3, granularity="group", group_size=16, symmetric=False))
    found = quantize(weight, 3, "group", 16, symmetric=False)
    assert torch.equal(layer.weight, dequantize(*found, 3))
    exported = integer_parameters(layer)["weight"].quantized
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(exported, found, strict=True))
    freeze_(layer)
    again = integer_parameters(layer)["weight"].quantized
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(again, found, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_packed_weights_read_in_the_models_own_precision(dtype):
    def made():
        return nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 3)).to(dtype)

    model, x = made(), torch.randn(5, 16, dtype=dtype)
    quantize_(model, QuantizationSpec(4))
    before = model(x)
    freeze_(model)
    assert torch.equal(model(x), before)
    fresh = made()
    packed_structure_(fresh, manifest(model))
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(x), before)


def test_learned_steps_are_used_as_they_will_be_stored():
    layer = nn.Linear(64, 8)
    quantize_(layer, QuantizationSpec(2, scale_dtype="float16", learn_steps=True))
    optimizer = torch.optim.Adam(layer.parameters(), 0.01)
    x, y = torch.randn(200, 64), torch.randn(200, 8)
    losses = []
    for _ in range(60):
        loss = (layer(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] * 0.95
    trained = layer(x)
    freeze_(layer)
    assert torch.equal(layer(x), trained)
    assert layer.parametrizations.weight[0].scales.dtype == torch.float16


def test_gradients_of_steps_are_not_rounded_with_them():
    found = []
    for scale_dtype in ("float16", "float32"):
        torch.manual_seed(0)
        table = nn.Embedding(50, 8)
        quantize_(table, QuantizationSpec(4, 4, scale_dtype=scale_dtype, learn_steps=True))
        scales = table.parametrizations.weight[0].scales
        with torch.no_grad():
            scales.copy_(scales.half())
        (1e-7 * table.weight.sum()).backward()
        found.append(scales.grad)
    assert torch.equal(*found)


@pytest.mark.parametrize("granularity", ["tensor", "row"])
@pytest.mark.parametrize("bits", [1, 2, 8])
def test_the_padding_row_reads_as_zeros(granularity, bits):
    table = nn.Embedding(20, 8, padding_idx=0)
    quantize_(table, QuantizationSpec(8, bits, granularity=granularity, learn_steps=True))
    optimizer = torch.optim.SGD(table.parameters(), 0.001)
    for _ in range(3):  # scoring moves the padding row's own numbers
        optimizer.zero_grad()
        (torch.ones(2, 8) @ table.weight.T).square().sum().backward()
        optimizer.step()
    assert not table(torch.tensor([0])).any() and table(torch.tensor([1])).any()
    freeze_(table)
    assert not table.weight[0].any()


def test_a_padding_row_with_numbers_keeps_them():
    """RecBole's own initialisation writes into it, and its models read it."""
    table = nn.Embedding(20, 8, padding_idx=0)
    nn.init.normal_(table.weight)
    before = table.weight.detach().clone()
    quantize_(table, QuantizationSpec(8, 8))
    assert torch.allclose(table.weight[0], before[0], atol=0.05)


def test_a_table_of_one_number_per_row_is_a_vector():
    """With a scale for every number it would be larger than in full precision."""
    model = nn.ModuleDict({"bias": nn.Embedding(30, 1), "item": nn.Embedding(30, 16)})
    report = quantize_(model, QuantizationSpec(4, 4, activation_bits=8))
    row = next(row for row in report.rows if row.name == "bias.weight")
    assert (row.bits, row.size_bytes, row.activation_bits, row.reason) == (32, 120, 32, "a vector")
    model = nn.ModuleDict({"bias": nn.Embedding(30, 1), "item": nn.Embedding(30, 16)})
    asked = {"bias": {"granularity": "tensor"}}
    report = quantize_(model, QuantizationSpec(4, 4, overrides=asked))
    assert report.rows[0].bits == 4 and report.rows[0].size_bytes == 34


# -- activations ------------------------------------------------------------------------------


def test_a_linear_layer_rounds_every_token_on_its_own():
    layer = nn.Linear(16, 4)
    quantize_(layer, QuantizationSpec(8, activation_bits=8))
    x = torch.randn(3, 5, 16) * torch.tensor([1.0, 1e3, 1e-3])[:, None, None]
    reach = x.abs().amax(-1, keepdim=True)
    rounded = (x / (reach / 127)).round().clamp(-128, 127) * (reach / 127)
    assert torch.allclose(layer(x), nn.functional.linear(rounded, layer.weight, layer.bias))
    assert not torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))


def test_what_torchs_attention_reads_on_its_own_is_not_said_to_be_rounded():
    model = nn.MultiheadAttention(16, 2)
    report = quantize_(model, QuantizationSpec(8, 8, activation_bits=4))
    assert [(row.name, row.bits, row.activation_bits) for row in report.rows if row.bits < 32] == [
        ("in_proj_weight", 8, 4),
        ("out_proj.weight", 8, 32),
    ]
    assert list(manifest(model)["activations"]) == [""]


def test_static_ranges_come_from_what_was_seen():
    layer = nn.Linear(4, 4)
    spec = QuantizationSpec(
        8, activation_bits=8, activation_range="static", range_finder="absolute_maximum"
    )
    quantize_(layer, spec)
    with pytest.raises(QuantizationError, match="calibrating"):
        layer(torch.ones(1, 4))
    with calibrating(layer):
        layer(torch.tensor([[1.0, 2.0, -12.7, 0.0]]))
        layer(torch.tensor([[6.0, 0.0, 0.0, 0.0]]))
    assert layer.input_quantizer.scale.item() == pytest.approx(0.1)


@pytest.mark.parametrize("range_finder, share", [("absolute_maximum", 1.0), ("mse", 0.7)])
def test_static_ranges_reach_every_channel_of_long_batches(range_finder, share):
    """Numbers at even distances would be those of a few channels only, in every batch."""
    x = torch.randn(2 * 1024, 4, 16)  # twice the numbers that are looked at
    norm = nn.LayerNorm(16)
    for channel in range(16):
        with torch.no_grad():
            norm.weight.fill_(1.0)[channel] = 20.0
            states = norm(x)
        scales = []
        for _ in range(2):
            quantizer = ActivationQuantizer(8, static=True, range_finder=range_finder)
            with calibrating(quantizer):
                quantizer(states)
            scales.append(quantizer.scale.item())
        assert scales[0] == scales[1]
        assert scales[0] * 127 >= share * states.abs().max().item() * (1 - 1e-6), channel


def test_static_ranges_see_one_large_number_in_a_million():
    x = torch.randn(64, 256, 64)
    x[13, 101, 7] = -1000.0
    quantizer = ActivationQuantizer(8, static=True, range_finder="absolute_maximum")
    with calibrating(quantizer):
        quantizer(x)
    assert quantizer.scale.item() == pytest.approx(1000 / 127)


@pytest.mark.parametrize(
    "product",
    [
        lambda x, w: torch.matmul(x, w.transpose(0, 1)),
        lambda x, w: x @ w.T,
        lambda x, w: x.matmul(w.t()),
        lambda x, w: torch.mm(x, w.mT),
        lambda x, w: nn.functional.linear(x, w),
        lambda x, w: torch.matmul(w, x.T).T,
        lambda x, w: (w @ x.T).T,
        lambda x, w: torch.matmul(x, w[:20].transpose(0, 1)),
        lambda x, w: torch.matmul(x, torch.permute(w, (1, 0))),
        lambda x, w: torch.matmul(x, torch.relu(w).transpose(0, 1)),
        lambda x, w: x @ nn.ReLU()(w).T,
        lambda x, w: x @ nn.functional.normalize(nn.Dropout(0.0)(w), dim=-1).T,
    ],
)
def test_the_scoring_product_rounds_however_it_is_written(product):
    weight, x = torch.randn(30, 16), torch.randn(5, 16)
    quantizer = ActivationQuantizer(4)
    table = ScoringTable.of(weight, quantizer)
    found = product(x, table)
    assert type(found) is torch.Tensor
    assert torch.allclose(found, product(quantizer(x), weight), atol=1e-5)
    assert not torch.allclose(found, product(x, weight), atol=1e-3)


def test_a_scoring_table_is_plain_elsewhere():
    weight = torch.randn(30, 16, requires_grad=True)
    table = ScoringTable.of(weight, ActivationQuantizer(4))
    rows = nn.functional.embedding(torch.tensor([1, 2]), table)
    assert torch.equal(rows, weight[1:3]) and type(rows + 1) is torch.Tensor
    sequences = nn.functional.embedding(torch.tensor([[1, 2]]), table)
    assert type(sequences) is torch.Tensor and torch.equal(sequences[0], weight[1:3])
    assert type(table[torch.tensor([1, 2])]) is torch.Tensor
    assert type(table.sum()) is torch.Tensor
    (torch.randn(4, 16) @ table.T).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize(
    "product",
    [
        lambda x, rows: torch.mul(x, rows).sum(1),
        lambda x, rows: torch.sum(x * rows, dim=-1),
        lambda x, rows: torch.sum(rows * x, dim=-1),
        lambda x, rows: rows.mul(x).sum(1),
        lambda x, rows: torch.matmul(x.unsqueeze(1), rows.unsqueeze(1).permute(0, 2, 1)),
        lambda x, rows: torch.matmul(rows.unsqueeze(dim=1), x.unsqueeze(1).mT),
        lambda x, rows: torch.bmm(x.unsqueeze(1), torch.unsqueeze(rows, -1)),
        lambda x, rows: x.unsqueeze(1) @ torch.transpose(rows.expand(1, 5, 16), 0, 1).mT,
        lambda x, rows: (x.unsqueeze(1) * rows.unsqueeze(1)).sum(-1),
    ],
)
def test_rows_to_be_scored_round_however_they_are_multiplied(product):
    weight, x = torch.randn(30, 16, requires_grad=True), torch.randn(5, 16)
    quantizer = ActivationQuantizer(4)
    ids = torch.tensor([3, 1, 4, 1, 5])
    rows = nn.functional.embedding(ids, ScoringTable.of(weight, quantizer))
    found = product(x, rows)
    assert type(found) is torch.Tensor
    found = found.reshape(-1)
    assert torch.allclose(found, (quantizer(x) * weight[ids]).sum(1), atol=1e-5)
    assert not torch.allclose(found, (x * weight[ids]).sum(1), atol=1e-3)
    found.sum().backward()
    assert weight.grad[ids].any() and not weight.grad[0].any()


def test_rows_to_be_scored_are_plain_elsewhere():
    weight = torch.randn(30, 16)
    table = ScoringTable.of(weight, ActivationQuantizer(2))
    ids = torch.tensor([3, 1])
    rows, plain = nn.functional.embedding(ids, table), weight[ids]
    for other in (2.5, torch.randn(2, 1), torch.ones(2, 16, dtype=torch.bool)):
        assert torch.equal(rows * other, plain * other)
    assert torch.equal(rows * rows, plain * plain)  # both on a grid already
    assert torch.equal(nn.functional.normalize(rows), nn.functional.normalize(plain))
    assert torch.equal((rows - 1).square().sum(1), (plain - 1).square().sum(1))


@pytest.mark.parametrize("change", [nn.ReLU(), nn.functional.normalize, nn.Dropout(0.0)])
def test_transformed_rows_round_as_well(change):
    weight, x, ids = torch.randn(30, 16), torch.randn(2, 16), torch.tensor([3, 1])
    quantizer = ActivationQuantizer(4)
    rows = nn.functional.embedding(ids, ScoringTable.of(weight, quantizer))
    assert torch.equal(x * change(rows), quantizer(x) * change(weight[ids]))


def test_rows_times_a_matrix_of_a_layer_are_not_scored():
    """The matrix is no hidden state; nor is anything that meets the rows across their numbers."""
    weight, matrix = torch.randn(30, 16), torch.randn(16, 16)
    table = ScoringTable.of(weight, ActivationQuantizer(2))
    ids = torch.tensor([3, 1])
    rows, plain = nn.functional.embedding(ids, table), weight[ids]
    assert torch.equal(rows @ matrix, plain @ matrix)
    assert torch.equal(rows.unsqueeze(1) @ matrix, plain.unsqueeze(1) @ matrix)
    weights = torch.randn(2, 3, 1)
    assert torch.equal(weights @ rows.unsqueeze(1), weights @ plain.unsqueeze(1))


def test_of_two_rows_the_left_ones_are_the_state_as_before_a_whole_table():
    users, items = torch.randn(9, 16), torch.randn(30, 16)
    never, quantizer = ActivationQuantizer(2, static=True), ActivationQuantizer(3)
    who, ids = torch.tensor([2, 7]), torch.tensor([3, 1])
    table = ScoringTable.of(items, quantizer)
    user = nn.functional.embedding(who, ScoringTable.of(users, never))
    expected = quantizer(users[who]) @ items.T
    assert torch.equal(user @ table.T, expected)
    rows = nn.functional.embedding(ids, table)
    alone = torch.bmm(user.unsqueeze(1), rows.unsqueeze(2)).reshape(-1)
    assert torch.allclose(alone, expected[[0, 1], ids], atol=1e-5)
