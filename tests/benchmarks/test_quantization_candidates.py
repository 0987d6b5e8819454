"""The candidates of the sampled metric: different items, none of the user's, all as likely."""

from __future__ import annotations

import torch

from benchmarks.quantization import others_than


def test_candidates_are_different_and_free():
    taken = torch.tensor([[0, 0, 1, 2], [3, 3, 4, 5]]).repeat(500, 1)
    drawn = others_than(taken, 12, 6, torch.Generator().manual_seed(1))
    assert drawn.shape == (1000, 6)
    assert all(len(set(row)) == 6 for row in drawn.tolist())
    assert not (drawn.unsqueeze(2) == taken.unsqueeze(1)).any()
    assert drawn.min() >= 1 and drawn.max() <= 11


def test_every_free_item_is_as_likely():
    taken = torch.tensor([[2, 7]]).repeat(20_000, 1)
    drawn = others_than(taken, 11, 4, torch.Generator().manual_seed(2))
    counts = drawn.flatten().bincount(minlength=11) / len(taken)
    free = torch.tensor([1, 3, 4, 5, 6, 8, 9, 10])
    torch.testing.assert_close(counts[free], torch.full((8,), 0.5), rtol=0.03, atol=0.0)


def test_fewer_where_a_user_has_nearly_all_items():
    drawn = others_than(torch.tensor([[1, 2, 3]]), 6, 100, torch.Generator().manual_seed(3))
    assert sorted(drawn[0].tolist()) == [4, 5]
