"""Cutting a catalogue by popularity."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_compress.functional.item_blocks import (
    CUT_RULES,
    attenuated_dims,
    block_sizes,
    rank_by_frequency,
)

COUNTS = st.lists(st.integers(0, 1000), min_size=2, max_size=80).map(
    lambda counts: torch.tensor([0, *counts])
)


@given(COUNTS)
def test_rank_is_a_permutation_sorted_by_count_ties_by_id(counts):
    rank = rank_by_frequency(counts)
    assert sorted(rank.tolist()) == list(range(-1, len(counts) - 1))
    by_rank = sorted(range(1, len(counts)), key=lambda i: rank[i])
    assert by_rank == sorted(range(1, len(counts)), key=lambda i: (-counts[i].item(), i))


@given(COUNTS, st.sampled_from(sorted(CUT_RULES)), st.integers(1, 6))
def test_every_rule_gives_a_partition(counts, rule, n_blocks):
    n_blocks = min(n_blocks, len(counts) - 1)
    sizes = block_sizes(counts, rule, n_blocks)
    assert sum(sizes) == len(counts) - 1
    assert min(sizes) >= 1
    assert len(sizes) <= n_blocks


def test_equal_mass_balances_interactions():
    counts = torch.cat([torch.zeros(1), 10000 / torch.arange(1, 2001)]).long()
    head, middle, tail = block_sizes(counts, "equal_mass", 3)
    mass = torch.sort(counts[1:], descending=True).values
    shares = [part.sum().item() / counts.sum().item() for part in mass.split([head, middle, tail])]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.1)
    assert head < middle < tail


def test_zero_frequency_items_go_last():
    assert rank_by_frequency(torch.tensor([0, 0, 4, 0, 1])).tolist() == [-1, 2, 0, 3, 1]
    assert block_sizes(torch.zeros(5, dtype=torch.long), "auto", 3) == (4,)


def test_dims_fall_by_the_same_factor_everywhere():
    # the released code's softmax side squares the factor: 128, 32, 2 where 128, 32, 8 is meant
    assert attenuated_dims(512, 4, 4) == (512, 128, 32, 8)
    assert attenuated_dims(8, 4, 4) == (8, 2, 1, 1)
    assert attenuated_dims(64, 3, 1) == (64, 64, 64)
    assert attenuated_dims(64, 2, explicit=[32, 5]) == (32, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: block_sizes(c, [5, 3]), "must ascend"),
        (lambda c: block_sizes(c, [3, 3]), "must ascend"),
        (lambda c: block_sizes(c, [9]), "exceed|leave items on both sides"),
        (lambda c: block_sizes(c, [0]), "leave items on both sides"),
        (lambda c: block_sizes(c, [1.5]), "leave items on both sides"),
        (lambda c: block_sizes(c, "equal_mas"), "did you mean 'equal_mass'"),
        (lambda c: block_sizes(c, "auto", 9), "catalogue of 8 items"),
        (lambda c: attenuated_dims(64, 3, 0.5), "block_attenuation=0.5"),
        (lambda c: attenuated_dims(64, 3, explicit=[64, 16]), "3 widths"),
        (lambda c: attenuated_dims(64, 3, explicit=[64, 16, 0]), "from 1 to 64"),
        (lambda c: attenuated_dims(64, 3, explicit=[65, 16, 1]), "from 1 to 64"),
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.arange(9))
