"""What is drawn has the distribution that was asked for."""

from __future__ import annotations

import pytest
import torch

from recbole_compress.datafree import draw_items_, epsilon_greedy, gumbel_top_k

N = 40_000


def frequencies(ids, n_items):
    return torch.bincount(ids, minlength=n_items) / len(ids)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_items_come_by_their_softmax(temperature):
    scores = torch.tensor([-torch.inf, 1.0, 0.0, 3.0, -torch.inf, 2.0])
    chance = torch.Generator().manual_seed(1)
    drawn = draw_items_(scores.repeat(N, 1), temperature, chance)
    expected = (scores / temperature).softmax(0)
    torch.testing.assert_close(frequencies(drawn, 6), expected, atol=0.01, rtol=0)
    assert not (drawn == 0).any() and not (drawn == 4).any()


def test_the_tail_of_a_large_catalogue_is_not_lost():
    n = 300_000
    scores = torch.zeros(1, n)
    scores[0, 0], scores[0, 1] = -torch.inf, torch.tensor(float(n)).log()
    chance = torch.Generator().manual_seed(1)
    drawn = torch.cat([draw_items_(scores.clone(), generator=chance) for _ in range(300)])
    assert 100 < (drawn == 1).sum() < 200  # a half
    assert (drawn > n // 2).sum() > 40  # a quarter


@pytest.mark.slow
def test_items_that_are_rarer_than_float32_can_tell_are_drawn_too():
    n, draws = 100_000, 400
    scores = torch.full((1, n), 1e-8).log()  # a thousandth of all together
    scores[0, 0] = 0.0
    chance = torch.Generator().manual_seed(1)
    rare = [draw_items_(scores.repeat(50, 1), generator=chance) for _ in range(draws)]
    rare = torch.cat(rare)
    rare = rare[rare > 0]
    assert 5 < len(rare) < 50
    # In float32 they would be those of 2 ** 24 places that hold an item's end.
    assert len(rare.unique()) == len(rare)


def test_epsilon_greedy_is_the_best_or_any():
    scores = torch.tensor([9.0, 1.0, 4.0, 2.0]).repeat(N, 1)
    drawn = epsilon_greedy(scores, 0.3, torch.Generator().manual_seed(1))
    expected = torch.tensor([0.0, 0.1, 0.8, 0.1])
    torch.testing.assert_close(frequencies(drawn, 4), expected, atol=0.01, rtol=0)


def test_epsilon_greedy_never_picks_what_is_no_item():
    scores = torch.tensor([9.0, 1.0, -torch.inf, 2.0]).repeat(N, 1)
    drawn = epsilon_greedy(scores, 1.0, torch.Generator().manual_seed(1))
    expected = torch.tensor([0.0, 0.5, 0.0, 0.5])
    torch.testing.assert_close(frequencies(drawn, 4), expected, atol=0.01, rtol=0)


def test_gumbel_top_k_draws_among_the_best_by_their_softmax():
    scores = torch.tensor([9.0, 1.0, 0.0, 2.0, -1.0])
    drawn = gumbel_top_k(scores.repeat(N, 1), 2, torch.Generator().manual_seed(1))
    expected = torch.zeros(5)
    expected[[1, 3]] = scores[[1, 3]].softmax(0)
    torch.testing.assert_close(frequencies(drawn, 5), expected, atol=0.01, rtol=0)


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match="temperature=0"):
        draw_items_(torch.zeros(1, 3), 0)
