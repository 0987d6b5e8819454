"""Packing against Python's integers of any length."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_compress.functional.bit_packing import pack, packed_size, unpack


def naive(codes: list[int], bits: int) -> list[int]:
    stream = sum(code << (bits * place) for place, code in enumerate(codes))
    return list(stream.to_bytes((len(codes) * bits + 7) // 8, "little"))


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 8), st.integers(0, 40), st.integers(0, 10**6))
def test_any_width_and_length(bits, count, seed):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(2**bits, (3, count), generator=generator).to(torch.uint8)
    packed = pack(codes, bits)
    assert packed.dtype == torch.uint8 and packed.shape == (3, packed_size(count, bits))
    assert packed.tolist() == [naive(row, bits) for row in codes.tolist()]
    assert torch.equal(unpack(packed, bits, count), codes)


def test_a_wrong_number_of_bytes_is_refused():
    with pytest.raises(ValueError, match="9 codes of 4 bits are 5"):
        unpack(torch.zeros(4, dtype=torch.uint8), 4, 9)
