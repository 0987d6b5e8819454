"""What a quantization is to be, in plain values: what cannot be, and what comes back."""

from __future__ import annotations

import pytest

from recbole_compress.errors import QuantizationError
from recbole_compress.quantization import QuantizationSpec, TensorFormat


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"weight_bits": 0}, "weight_bits=0"),
        ({"activation_bits": 9}, "activation_bits=9"),
        ({"activation_bits": 1}, "activation_bits=1"),
        ({"activation_range": "fixed"}, "activation_range='fixed'"),
        ({"scale_dtype": "int8"}, "scale_dtype='int8'"),
        ({"overrides": {"*": {"bits": 12}}}, "bits=12"),
        ({"overrides": {"*": {"bitz": 1}}}, "did you mean 'bits'"),
        ({"overrides": {"*": {"symmetric": "False"}}}, "symmetric='False': choose True or False"),
        ({"overrides": {3: {"bits": 2}}}, "overrides: 3 is no name pattern"),
        ({"keep": "*bias*"}, "keep='\\*bias\\*': give a list of patterns"),
        ({"granularity": "group"}, "group_size=None"),
        ({"weigth_bits": 3}, "did you mean 'weight_bits'"),
    ],
)
def test_specs_that_cannot_be(settings, message):
    with pytest.raises(QuantizationError, match=message):
        QuantizationSpec.from_dict(settings)


def test_a_spec_survives_as_plain_values():
    spec = QuantizationSpec(4, 2, 8, keep=("a*",), overrides={"*.b": {"bits": 6}})
    assert QuantizationSpec.from_dict(spec.as_dict()) == spec
    assert spec.format_of("x.b.weight", is_table=True) == TensorFormat(6)
    assert spec.format_of("abc.weight", is_table=True) is None
