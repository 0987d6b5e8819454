"""States that carry pointers: packed and unpacked without loss, and the scores that they give."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from recbole_compress.functional.pointed_states import (
    PointedStates,
    pack_pointers,
    pointed_log_probs_,
    unpack_pointers,
)


def some_states(n: int = 6, dim: int = 3, length: int = 4, n_items: int = 9) -> PointedStates:
    items = torch.stack([torch.randperm(n_items - 1)[:length] + 1 for _ in range(n)])
    items[0] = 0  # a sequence without items
    items[1, 2:] = 0
    shares = torch.randn(n, length).log_softmax(1)
    return PointedStates(torch.randn(n, dim), torch.randn(n), shares, items)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_nothing_is_lost_on_the_way(dtype) -> None:
    states = some_states()
    vectors = states.vectors.to(dtype)
    packed = pack_pointers(vectors, *states[1:])
    assert packed.dtype == torch.promote_types(dtype, torch.float32)
    found = unpack_pointers(packed, dim=3)
    assert_close(found.vectors.to(dtype), vectors, rtol=0, atol=0)
    assert_close(found.gate.float(), states.gate, rtol=0, atol=0)
    assert_close(found.log_shares.float(), states.log_shares, rtol=0, atol=0)
    assert torch.equal(found.items, states.items)


def test_the_largest_ids_are_exact() -> None:
    items = torch.tensor([[2**24 - 1, 2**24 - 2]])
    packed = pack_pointers(torch.zeros(1, 1), torch.zeros(1), torch.zeros(1, 2), items)
    assert torch.equal(unpack_pointers(packed, dim=1).items, items)


def test_log_probs_are_those_of_both_ways() -> None:
    states, of_new = some_states(), torch.randn(6, 9)
    found = pointed_log_probs_(of_new.clone(), states)
    for row in range(6):
        here = states.items[row].tolist()
        for item in range(1, 9):
            expected = F.logsigmoid(-states.gate[row]) + of_new[row, item]
            if item in here:
                expected = F.logsigmoid(states.gate[row]) + states.log_shares[row][here.index(item)]
            assert_close(found[row, item], expected, rtol=1e-5, atol=1e-5)
    assert (found[:, 0] == -torch.inf).all()
