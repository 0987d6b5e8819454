"""Objectives against what they equal naively."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from recbole_compress.datafree import (
    Candidates,
    Choices,
    generator_objective,
    item_divergence,
    pointwise_discrepancy,
    ranking_discrepancy,
    similarity_discrepancy,
)
from recbole_compress.datafree.game import _noise_of_winner
from tests.datafree.toy_models import Linear

N, ITEMS, DIM = 7, 40, 5


def naive_divergence(student, teacher, temperature):
    p = (teacher.states @ teacher.table.T)[:, 1:].detach() / temperature
    q = (student.states @ student.table.T)[:, 1:] / temperature
    kl = (p.softmax(1) * (p.log_softmax(1) - q.log_softmax(1))).sum(1).mean()
    return temperature**2 * kl


@pytest.mark.parametrize("candidates", [None, Candidates(top=39, tail=5), Candidates(38, 4)])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_divergence_and_its_gradients(candidates, temperature):
    student, teacher = Linear(N, ITEMS, DIM, 0), Linear(N, ITEMS, DIM, 1)
    ours = item_divergence(student.reading(), teacher.reading(), ITEMS, temperature, candidates)
    naive = naive_divergence(student, teacher, temperature)
    torch.testing.assert_close(ours, naive)
    wanted = torch.autograd.grad(naive, list(student.parameters()))
    found = torch.autograd.grad(ours, list(student.parameters()))
    torch.testing.assert_close(found, wanted)


def test_candidates_are_exact_where_the_tail_is_one_vector_many_times():
    """Whichever items are drawn from the tail, they stand for it; gradients included."""
    student, teacher = Linear(N, ITEMS, DIM, 0), Linear(N, ITEMS, DIM, 1)
    with torch.no_grad():
        teacher.table.mul_(0.3)
        for model, score in ((student, 2.0), (teacher, -4.0)):
            model.states[:, 0] = 1.0
            model.table[26:] = torch.tensor([score, 0.0, 0.0, 0.0, 0.0])
        assert (teacher.states @ teacher.table[1:26].T).min() > -4  # the others are on top
    chance = torch.Generator().manual_seed(0)
    found = item_divergence(
        student.reading(), teacher.reading(), ITEMS, 1.0, Candidates(25, 13), chance
    )
    naive = naive_divergence(student, teacher, 1.0)
    torch.testing.assert_close(found, naive)
    torch.testing.assert_close(
        torch.autograd.grad(found, student.states), torch.autograd.grad(naive, student.states)
    )


def test_the_candidates_estimate_gets_better_with_the_tail():
    n_items = 3000
    student, teacher = Linear(N, n_items, DIM, 0), Linear(N, n_items, DIM, 1)
    exact = naive_divergence(student, teacher, 1.0).item()

    def errors(tail):
        chance = torch.Generator().manual_seed(0)
        found = [
            item_divergence(
                student.reading(), teacher.reading(), n_items, 1.0, Candidates(100, tail), chance
            ).item()
            for _ in range(20)
        ]
        return (torch.tensor(found) - exact).abs().mean() / exact

    assert errors(1500) < 0.03 and errors(1500) < errors(50)


def test_pointwise_keeps_both_terms():
    student, teacher = torch.randn(2, 6)
    p, q = teacher.sigmoid(), student.sigmoid()
    naive = -(p * q.log() + (1 - p) * (1 - q).log()).mean()
    torch.testing.assert_close(pointwise_discrepancy(student, teacher), naive)


def test_ranking_is_the_papers_sum():
    scores = torch.randn(3, 5)
    naive = sum(-(scores[:, m].sigmoid().log() / (m + 1)) for m in range(5)).mean()
    torch.testing.assert_close(ranking_discrepancy(scores), naive)


def test_similarity_is_the_mean_over_pairs_and_blind_to_scale_and_turns():
    a, b = torch.randn(6, 4), torch.randn(6, 3)
    cosine = lambda x: F.normalize(x) @ F.normalize(x).T  # noqa: E731
    squares = (cosine(a) - cosine(b)).square()
    naive = sum(squares[i, j] for i in range(6) for j in range(i)) / 15
    torch.testing.assert_close(similarity_discrepancy(a, b), naive)
    turn, _ = torch.linalg.qr(torch.randn(4, 4))
    assert similarity_discrepancy(3 * a @ turn, a) < 1e-10


@pytest.mark.parametrize("top_k", [4, 6, 100])
def test_the_generators_gradient_is_that_of_straight_through_gumbel(top_k, monkeypatch):
    """Against a dense one-hot matrix whose gradient is the Gumbel-softmax's, same noise."""
    speaker = Linear(5, 12, 3, 0)
    ids = (speaker.states @ speaker.table.T)[:, 1:].argmax(1) + 1
    first, second = torch.randn(12, 4), torch.randn(5, 12)
    tau = 0.5
    k = min(top_k, 11)
    noise = torch.rand(5, k)
    monkeypatch.setattr("recbole_compress.datafree.game._noise_of_winner", lambda *a: noise)

    def loss(one_hot):
        return ((one_hot @ first).sin() @ torch.ones(4) + (one_hot * second).sum(1).cos()).sum()

    hard = F.one_hot(ids, 12).float().requires_grad_()
    slopes = torch.autograd.grad(loss(hard), hard)[0]
    choices = Choices(ids, top_k, tau)
    ours = generator_objective(speaker.reading(), choices, lambda which: slopes[which], 12)
    assert ours == 0

    scores = speaker.states @ speaker.table.T
    values, best = scores[:, 1:].topk(k, 1)
    soft = torch.zeros(5, 12).scatter(1, best + 1, ((values + noise) / tau).softmax(1))
    straight_through = hard.detach() + soft - soft.detach()
    wanted = torch.autograd.grad(loss(straight_through), list(speaker.parameters()))
    found = torch.autograd.grad(ours, list(speaker.parameters()))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_noise_given_the_winner_is_the_noise_that_made_it_win():
    values = torch.tensor([0.5, -1.0, 1.0])
    chance = torch.Generator().manual_seed(0)
    n = 300_000
    drawn = -(-torch.rand(n, 3, generator=chance).log()).log()
    winner = (values + drawn).argmax(1)
    for who in range(3):
        kept = drawn[winner == who]
        won = torch.zeros(len(kept), 3, dtype=torch.bool)
        won[:, who] = True
        ours = _noise_of_winner(values.expand(len(kept), -1), won, chance)
        assert ((values + ours).argmax(1) == who).all()
        for level in (0.1, 0.5, 0.9):
            torch.testing.assert_close(
                ours.quantile(level, 0), kept.quantile(level, 0), atol=0.06, rtol=0
            )


def test_no_places_no_loss():
    none = Linear(0, ITEMS, DIM)
    assert item_divergence(none.reading(), none.reading(), ITEMS) == 0
