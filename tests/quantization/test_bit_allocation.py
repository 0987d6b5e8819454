"""Bits under a bound: what trying all combinations would find."""

from __future__ import annotations

import itertools
import random

import pytest

from recbole_compress.quantization.bit_allocation import BitChoice, least_harm


def by_trying_all(choices, max_bytes):
    fitting = [
        combination
        for combination in itertools.product(*choices)
        if sum(one.size_bytes for one in combination) <= max_bytes
    ]
    return min((sum(one.harm for one in c) for c in fitting), default=None)


@pytest.mark.parametrize("seed", range(20))
def test_is_as_good_as_the_best_of_all_combinations(seed):
    chance = random.Random(seed)
    choices = [
        [
            BitChoice(bits, chance.randint(1, 2000) * bits, chance.random() * 4.0**-bits)
            for bits in range(1, chance.randint(2, 6))
        ]
        for _ in range(4)
    ]
    largest = sum(max(one.size_bytes for one in of_tensor) for of_tensor in choices)
    for share in (0.2, 0.4, 0.7, 1.0):
        most = int(share * largest)
        found, best = least_harm(choices, most), by_trying_all(choices, most)
        if best is None:
            assert found is None
            continue
        assert sum(one.size_bytes for one in found) <= most
        assert all(one in of_tensor for one, of_tensor in zip(found, choices, strict=True))
        assert sum(one.harm for one in found) == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("most", [10**7, 10**8, 10**9])
def test_a_large_bound_is_kept_to_the_byte(most):
    part = most // 10
    choices = [
        [BitChoice(b, part * b // 4 + 1 + i, 0.25**b) for b in (1, 2, 4, 8)] for i in range(9)
    ]
    found = least_harm(choices, most)
    assert sum(one.size_bytes for one in found) <= most


def test_what_cannot_be_helped_is_taken():
    one = BitChoice(4, 10, 0.0)
    assert least_harm([[one]], 10) == [one]
    assert least_harm([[one]], 9) is None
    assert least_harm([], 0) == []
