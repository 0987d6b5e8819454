"""What cannot be quantized, packed or read is refused, and nothing is changed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recbole_compress.errors import QuantizationError
from recbole_compress.quantization import (
    QuantizationSpec,
    freeze_,
    manifest,
    packed_structure_,
    quantize_,
)


def untouched(model, spec, message):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    types = [type(module) for module in model.modules()]
    with pytest.raises(QuantizationError, match=message):
        quantize_(model, spec)
    after = model.state_dict()
    assert list(after) == list(before) and [type(m) for m in model.modules()] == types
    assert all(torch.equal(after[name].nan_to_num(), before[name].nan_to_num()) for name in before)


def test_an_error_changes_nothing():
    model = nn.Sequential(nn.Linear(64, 6), nn.GRU(6, 6))
    group = QuantizationSpec(4, granularity="group", group_size=32)
    untouched(model, group, r"1\.weight_ih_l0: group_size=32: does not divide the width 6")
    with torch.no_grad():
        model[1].weight_hh_l0[2, 2] = torch.nan
    untouched(model, QuantizationSpec(4), r"1\.weight_hh_l0: 1 of 108 numbers are NaN")
    untouched(nn.LayerNorm(4), QuantizationSpec(4), "has no table or matrix")
    untouched(nn.Linear(4, 4), QuantizationSpec(32, 32), "has no table or matrix")
    twice = nn.Linear(4, 4)
    quantize_(twice, QuantizationSpec(4))
    untouched(twice, QuantizationSpec(4), "quantized already")
    freeze_(twice)
    untouched(twice, QuantizationSpec(4), "quantized already")


@pytest.mark.parametrize("rows", [[3, 4], [-2, -4], [2], "ab", None])
def test_rows_that_are_not_the_parameters_are_refused(rows):
    model = nn.Linear(4, 2)
    quantize_(model, QuantizationSpec(4))
    described = manifest(model)
    described["parameters"]["weight"]["rows"] = rows
    with pytest.raises(QuantizationError, match="weight|does not fit"):
        packed_structure_(nn.Linear(4, 2), described)


def test_packing_needs_something_to_pack():
    for function in (freeze_, manifest):
        with pytest.raises(QuantizationError, match="not quantized"):
            function(nn.Linear(3, 3))
