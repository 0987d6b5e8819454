"""Bits for every tensor, measured on the model's own sequences."""

from __future__ import annotations

import copy

import pytest
import torch

from recbole_compress.errors import ConfigError, QuantizationError
from recbole_compress.quantization import QuantizationSpec, quantize_
from recbole_compress.trainers.bit_budget import bit_choices, check_bound, spec_within
from tests.marks import slow
from tests.trainers.data_free_case import Case

BESIDE = 5_000  # what a file holds besides


def file_size(model):
    def size(spec):
        return quantize_(copy.deepcopy(model), spec).size_bytes + BESIDE

    return size


@pytest.fixture
def case(path):
    return Case(path)


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", slow("BERT4Rec")])
def test_fewer_bits_do_more_harm_and_the_model_stays_as_it_is(path, model):
    case = Case(path, model)
    before = copy.deepcopy(case.teacher.state_dict())
    choices = bit_choices(case.teacher, QuantizationSpec(8, 8), case.config)
    assert choices == bit_choices(case.teacher, QuantizationSpec(8, 8), case.config)
    after = case.teacher.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert "item_embedding.weight" in choices
    for of_tensor in choices.values():
        assert [one.bits for one in of_tensor] == list(range(1, 9))
        assert of_tensor[0].harm > 0 and of_tensor[0].harm > 10 * of_tensor[-1].harm
        sizes = [one.size_bytes for one in of_tensor]
        assert sizes == sorted(sizes) and len(set(sizes)) == 8


def test_one_tensor_in_its_bits_is_what_was_measured(case):
    """The sizes are those of the report, the harm that of a model with this one rounded."""
    spec = QuantizationSpec(8, 8)
    choices = bit_choices(case.teacher, spec, case.config)
    rows = {row.name: row for row in quantize_(copy.deepcopy(case.teacher), spec).rows}
    for name, of_tensor in choices.items():
        assert of_tensor[-1].size_bytes == rows[name].size_bytes


@pytest.mark.slow
def test_the_bound_is_kept_and_more_bytes_make_a_better_model(case):
    size = file_size(case.teacher)
    spec = QuantizationSpec(8, 8)
    choices = bit_choices(case.teacher, spec, case.config)

    def harm(planned):
        return sum(
            next(one.harm for one in of_tensor if one.bits == planned.overrides[name]["bits"])
            for name, of_tensor in choices.items()
        )

    harms = []
    for bits in (2, 3, 5):
        most = size(QuantizationSpec(bits, bits)) + 256
        planned = spec_within(case.teacher, spec, case.config, most, size)
        assert size(planned) <= most - 256
        harms.append(harm(planned))
        uniform = sum(of_tensor[bits - 1].harm for of_tensor in choices.values())
        assert harms[-1] <= uniform * (1 + 1e-6)
    assert harms == sorted(harms, reverse=True) and harms[0] > harms[-1]
    plenty = spec_within(case.teacher, spec, case.config, 10**9, size)
    assert plenty == spec


def test_a_bound_below_the_numbers_alone_is_refused_beforehand(case):
    spec = QuantizationSpec(8, 8, symmetric=False)
    least = quantize_(copy.deepcopy(case.teacher), QuantizationSpec(2, 2, symmetric=False))
    check_bound(case.teacher, spec, least.size_bytes + 256)
    with pytest.raises(QuantizationError, match=r"the smallest file of this model.*takes more"):
        check_bound(case.teacher, spec, least.size_bytes + 255)
    assert all(isinstance(p, torch.nn.Parameter) for p in case.teacher.parameters())


def test_bits_that_were_given_are_kept(case):
    size = file_size(case.teacher)
    spec = QuantizationSpec(32, 6, symmetric=False, overrides={"item_emb*": {"bits": 5}})
    with pytest.raises(QuantizationError, match="quantization_max_bytes=6000: the smallest file"):
        spec_within(case.teacher, spec, case.config, 6_000, size)
    spec = QuantizationSpec(4, 6, symmetric=False, overrides={"item_emb*": {"bits": 5}})
    choices = bit_choices(case.teacher, spec, case.config)
    assert choices and "item_embedding.weight" not in choices
    assert {one.bits for of_tensor in choices.values() for one in of_tensor} == {2, 3, 4}
    planned = spec_within(case.teacher, spec, case.config, 10**9, size)
    assert planned.format_of("item_embedding.weight", is_table=True).bits == 5


def test_what_else_is_said_of_a_tensor_by_its_name_leaves_its_bits_open(case):
    size, spec = file_size(case.teacher), QuantizationSpec(8, 8)
    limit = size(QuantizationSpec(3, 3)) + 256
    by_bits = spec_within(case.teacher, spec, case.config, limit, size)
    group = {"granularity": "tensor"}
    for name in ("item_embedding.weight", "item_embedding.weigh[t]"):
        said = QuantizationSpec(8, 8, overrides={name: group})
        planned = spec_within(case.teacher, said, case.config, limit, size)
        format = planned.format_of("item_embedding.weight", is_table=True)
        assert format.granularity == "tensor" and format.bits < 8
        assert size(planned) <= limit - 256
    assert by_bits.format_of("item_embedding.weight", is_table=True).granularity == "row"


def test_a_model_of_two_catalogues_is_refused(case):
    case.teacher.one_catalogue = False
    with pytest.raises(ConfigError, match="reads other items than it recommends"):
        bit_choices(case.teacher, QuantizationSpec(8, 8), case.config)
