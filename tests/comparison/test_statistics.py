"""Numbers of a comparison against naive loops, scipy and RecBole's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recbole.config import Config
from recbole.evaluator.metrics import MAP, MRR, NDCG, Hit, Precision, Recall
from scipy import stats

from recbole_compress.comparison.rank_metrics import metric_per_row
from recbole_compress.comparison.row_groups import popularity_groups
from recbole_compress.comparison.statistics import (
    mean_and_deviation,
    mean_per_user,
    paired_difference,
)

DEPTH = 7


@pytest.mark.parametrize("metric", [Hit, Recall, Precision, MRR, MAP, NDCG])
def test_every_rank_is_worth_what_recbole_says(metric):
    ranks = np.arange(DEPTH + 1)
    hits = ranks[:, None] == np.arange(1, DEPTH + 1)
    config = Config("SASRec", "ml-100k", config_dict={"train_neg_sample_args": None, "topk": [1]})
    info = metric(config).metric_info
    one = np.ones(len(ranks), dtype=int)
    theirs = info(hits) if metric in (Hit, MRR, Precision) else info(hits, one)
    for k in range(1, DEPTH + 1):
        ours = metric_per_row(f"{metric.__name__}@{k}", ranks)
        np.testing.assert_array_equal(ours, theirs[:, k - 1])


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.floats(-5, 5)), min_size=1, max_size=30))
def test_mean_per_user(rows):
    users = np.array([user for user, _ in rows])
    values = np.array([[value, 1.0] for _, value in rows])
    names, means = mean_per_user(users, values)
    assert names.tolist() == sorted(set(users))
    for name, mean in zip(names, means, strict=True):
        own = [value for user, value in rows if user == name]
        assert mean[0] == pytest.approx(sum(own) / len(own), abs=1e-12)
        assert mean[1] == 1


def naive_groups(item_counts):
    """Item by item, from the most frequent down; items of one frequency move together."""
    total, before, found = sum(item_counts), 0, {}
    for frequency in sorted(set(item_counts), reverse=True):
        mass = frequency * list(item_counts).count(frequency)
        middle = before + mass / 2
        third = 3 if frequency == 0 else sum(middle >= total * part / 3 for part in (1, 2))
        found[frequency] = third
        before += mass
    return found


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60))
def test_popularity_cut(counts):
    found = popularity_groups(np.array(counts), np.array(sorted(set(counts))))
    naive = naive_groups(counts)
    assert found.tolist() == [naive[count] for count in sorted(set(counts))]


def test_popularity_thirds_are_thirds_where_they_can_be():
    counts = np.arange(3000)
    group = popularity_groups(counts, counts)
    for third in range(3):
        assert counts[group == third].sum() == pytest.approx(counts.sum() / 3, rel=2e-3)
    assert group[0] == 3  # never shown


def test_paired_t_test_is_scipys():
    random = np.random.default_rng(0)
    theirs = random.random((40, 2))
    ours = theirs + random.normal(0.02, 0.1, (40, 2))
    for column, found in enumerate(paired_difference(ours, theirs, resamples=10)):
        expected = stats.ttest_rel(ours[:, column], theirs[:, column])
        assert found.p_value == pytest.approx(expected.pvalue)
        assert found.users == 40
        relative = ours[:, column].mean() / theirs[:, column].mean() - 1
        assert found.relative == pytest.approx(relative)


def test_bootstrap_interval_is_scipys():
    random = np.random.default_rng(1)
    theirs = random.random(60)
    ours = theirs * random.normal(1.1, 0.3, 60)
    (found,) = paired_difference(ours[:, None], theirs[:, None], resamples=4000)
    expected = stats.bootstrap(
        (ours, theirs),
        lambda a, b: a.mean() / b.mean() - 1,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    # Both are draws; their ends differ by much less than the interval is wide.
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.1 * width)
    assert found.high == pytest.approx(expected.high, abs=0.1 * width)
    assert found == paired_difference(ours[:, None], theirs[:, None], resamples=4000)[0]


def test_nothing_to_test():
    same = np.ones((5, 1))
    (found,) = paired_difference(same, same)
    assert found.relative == found.low == found.high == 0
    assert found.p_value is None
    (found,) = paired_difference(same, np.zeros((5, 1)))
    assert found.relative is found.low is found.p_value is None
    (found,) = paired_difference(1.25 * same[:1], same[:1])  # one user
    assert found.relative == 0.25
    assert found.low is found.high is found.p_value is None


def test_mean_and_deviation():
    found = mean_and_deviation([0.1, 0.4, 0.7])
    assert found["mean"] == pytest.approx(0.4)
    assert found["std"] == pytest.approx(math.sqrt(0.09))
    assert mean_and_deviation([None]) == {"mean": None, "std": None, "n": 0}
