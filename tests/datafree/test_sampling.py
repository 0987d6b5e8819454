"""Sampled sequences follow the model, and the settings."""

from __future__ import annotations

import pytest
import torch

from recbole_compress.datafree import (
    SamplingSettings,
    draw_items_,
    noise_sequences,
    sample_sequences,
    sampling,
    stationary_prior,
)
from tests.datafree.toy_models import Markov


def chain(n_items=6, seed=0):
    logits = torch.randn(n_items, n_items, generator=torch.Generator().manual_seed(seed))
    return Markov(logits)


def chance():
    return torch.Generator().manual_seed(3)


def test_transitions_are_those_of_the_model():
    model = chain()
    made = sample_sequences(model, 3000, SamplingSettings(start="uniform"), chance())
    counts = torch.zeros(6, 6)
    for row, length in zip(made.item_seq, made.lengths, strict=True):
        for before, after in zip(row[: length - 1], row[1:length], strict=True):
            counts[before, after] += 1
    expected = model.logits[1:, 1:].softmax(1)
    found = counts[1:, 1:] / counts[1:, 1:].sum(1, keepdim=True)
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0)
    starts = torch.bincount(made.item_seq[:, 0], minlength=6)[1:] / 3000
    torch.testing.assert_close(starts, torch.full((5,), 0.2), atol=0.03, rtol=0)


def test_the_stationary_prior_is_the_left_eigenvector():
    model = chain()
    p = model.logits[1:, 1:].softmax(1)
    expected = torch.linalg.matrix_power(p, 100)[0]
    found = stationary_prior(model, generator=chance())
    assert found[0] == 0 and abs(found.sum() - 1) < 1e-5
    torch.testing.assert_close(found[1:], expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("start", ["stationary", "mixed"])
def test_first_items(start):
    model = chain()
    prior = torch.tensor([0.0, 0.7, 0.1, 0.1, 0.1, 0.0])
    made = sample_sequences(model, 4000, SamplingSettings(start=start), chance(), prior=prior)
    found = torch.bincount(made.item_seq[:, 0], minlength=6) / 4000
    uniform = torch.tensor([0.0, 0.2, 0.2, 0.2, 0.2, 0.2])
    expected = prior if start == "stationary" else (prior + uniform) / 2
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0)


def test_padding_lengths_and_repeats():
    model = chain(n_items=15)
    settings = SamplingSettings(min_length=3, lengths="uniform", repeats=False)
    made = sample_sequences(model, 300, settings, chance(), batch_size=64)
    column = torch.arange(made.item_seq.shape[1])
    inside = column < made.lengths.unsqueeze(1)
    assert ((made.item_seq > 0) == inside).all()
    assert set(made.lengths.tolist()) == set(range(3, 13))
    for row, length in zip(made.item_seq, made.lengths, strict=True):
        assert len(set(row[:length].tolist())) == length
    longest = sample_sequences(model, 5, SamplingSettings(lengths="longest"), chance())
    assert (longest.lengths == 12).all()
    mixed = sample_sequences(model, 400, SamplingSettings(lengths="mixed"), chance())
    assert 0.45 < (mixed.lengths == 12).float().mean() < 0.66  # a half, and an 8th of the other
    assert mixed.lengths.min() == 5


def test_noise_without_repeats():
    settings = SamplingSettings(min_length=3, lengths="uniform", repeats=False)
    made = noise_sequences(n_items=9, max_length=12, n=300, settings=settings, generator=chance())
    assert set(made.lengths.tolist()) == set(range(3, 9))
    for row, length in zip(made.item_seq, made.lengths, strict=True):
        assert len(set(row[:length].tolist()) - {0}) == length and not row[length:].any()


def test_without_repeats_no_sequence_is_longer_than_the_catalogue():
    model = chain(n_items=5)
    made = sample_sequences(model, 20, SamplingSettings(repeats=False, lengths="longest"), chance())
    assert (made.lengths == 4).all()


def test_the_same_chance_makes_the_same_sequences_whatever_the_chunks(monkeypatch):
    model = chain()
    first = sample_sequences(model, 50, None, chance())
    monkeypatch.setattr(sampling, "_SCORES_AT_ONCE", 6 * 7)
    second = sample_sequences(model, 50, None, chance())
    assert (first.item_seq == second.item_seq).all()


def test_scores_are_made_a_few_rows_at_a_time(monkeypatch):
    model = chain()
    largest = []
    ends = model.ends

    def watched(sequences):
        reading = ends(sequences)

        def scores(states):
            largest.append(states.shape[0] * model.n_items)
            return states.clone()

        return reading._replace(scores=scores)

    model.ends = watched
    monkeypatch.setattr(sampling, "_SCORES_AT_ONCE", 60)
    monkeypatch.setattr(sampling, "_ROWS_AT_ONCE", 1)
    sample_sequences(model, 200, SamplingSettings(start="stationary"), chance())
    assert max(largest) <= 60


def test_a_large_table_is_not_read_for_every_row(monkeypatch):
    model, rows, drawn = chain(), [], []
    expected = sample_sequences(model, 40, SamplingSettings(start="uniform"), chance())
    ends = model.ends

    def watched(sequences):
        reading = ends(sequences)
        return reading._replace(scores=lambda s: rows.append(len(s)) or reading.scores(s))

    def draw(scores):
        drawn.append(len(scores))
        return draw_items_(scores, 1.0, generator)

    model.ends, generator = watched, chance()
    monkeypatch.setattr(sampling, "_SCORES_AT_ONCE", 3 * model.n_items)
    made = sample_sequences(model, 40, SamplingSettings(start="uniform"), generator, draw=draw)
    assert max(drawn) == 3 and torch.equal(made.item_seq, expected.item_seq)
    steps = model.max_length - 1
    assert rows == [15, 15, 10] * steps


def test_sequences_that_are_long_enough_cost_nothing_more():
    model = chain()
    rows = []
    ends = model.ends
    model.ends = lambda sequences: rows.append(len(sequences.lengths)) or ends(sequences)
    made = sample_sequences(model, 100, SamplingSettings(start="uniform"), chance())
    assert sum(rows) == int((made.lengths - 1).sum())


def test_who_waits_is_told_of_every_batch():
    told = []
    sample_sequences(chain(), 25, generator=chance(), batch_size=10, after_batch=told.append)
    assert told == [10, 10, 5]


def test_noise_is_uniform():
    made = noise_sequences(5, 9, 4000, generator=chance())
    items = made.item_seq[made.item_seq > 0]
    assert len(items) == made.lengths.sum()
    found = torch.bincount(items, minlength=5)[1:] / len(items)
    torch.testing.assert_close(found, torch.full((4,), 0.25), atol=0.02, rtol=0)
