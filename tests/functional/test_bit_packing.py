"""Packing against Python's integers of any length."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_compress.functional import bit_packing
from recbole_compress.functional.bit_packing import pack, packed_size, unpack
from tests.largest_allocation import LargestAllocation


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


@pytest.mark.parametrize("bits", [3, 8])
def test_no_wide_integer_per_code(bits):
    codes = torch.zeros(100, 8_000, dtype=torch.uint8)
    with LargestAllocation(lambda tensor: tensor.dtype != torch.uint8) as wide:
        unpack(pack(codes, bits), bits, 8_000)
    assert wide.numel <= codes.numel() // 32
    with LargestAllocation() as any_tensor:
        unpack(pack(codes, bits), bits, 8_000)
    assert any_tensor.numel <= codes.numel()


@pytest.mark.parametrize("bits", [3, 8])
def test_more_words_than_are_held_at_once(bits, monkeypatch):
    monkeypatch.setattr(bit_packing, "_WORDS_AT_ONCE", 4)
    codes = torch.randint(2**bits, (3, 77)).to(torch.uint8)
    packed = pack(codes, bits)
    assert packed.tolist() == [naive(row, bits) for row in codes.tolist()]
    assert torch.equal(unpack(packed, bits, 77), codes)


def test_a_wrong_number_of_bytes_is_refused():
    with pytest.raises(ValueError, match="9 codes of 4 bits are 5"):
        unpack(torch.zeros(4, dtype=torch.uint8), 4, 9)
