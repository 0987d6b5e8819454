"""The bounded collector gives RecBole's metrics to the last digit."""

from __future__ import annotations

import pytest
import torch
from recbole.config import Config
from recbole.evaluator import Collector, Evaluator

from recbole_compress.trainers.collector import BoundedCollector
from tests.largest_allocation import LargestAllocation

METRICS = ["Recall", "MRR", "NDCG", "Hit", "Precision", "MAP", "GAUC"]


def evaluate(collector_class, config, batches):
    collector = collector_class(config)
    for scores, users, items in batches:
        collector.eval_batch_collect(scores.clone(), None, users, items)
    return Evaluator(config).evaluate(collector.get_data_struct())


@pytest.mark.parametrize("metrics", [METRICS[:-1], METRICS, ["Hit"]])
@pytest.mark.parametrize("several", [False, True])
def test_metrics_equal_recboles(metrics, several):
    settings = {
        "train_neg_sample_args": None,
        "metrics": metrics,
        "topk": [1, 5, 10],
        "metric_decimal_place": 16,
        "valid_metric": f"{metrics[0]}@5",
    }
    config = Config("SASRec", "ml-100k", config_dict=settings)
    generator = torch.Generator().manual_seed(0)
    batches = []
    for rows in (7, 1, 32):
        scores = torch.randn(rows, 101, generator=generator).round(decimals=1)  # with ties
        scores[:, 0] = -torch.inf
        users = torch.arange(rows)
        items = torch.randint(1, 101, (rows,), generator=generator)
        if several:  # some rows with more positives, one of them twice
            users = torch.cat([users, torch.zeros(2, dtype=torch.long)])
            items = torch.cat([items, items[:1], items[:1] % 100 + 1])
            order = torch.argsort(users, stable=True)
            users, items = users[order], items[order]
        batches.append((scores, users, items))
    ours = evaluate(BoundedCollector, config, batches)
    theirs = evaluate(Collector, config, batches)
    assert ours == theirs
    assert len(ours) >= 1


def test_no_integer_matrix_of_the_catalogue_is_made():
    config = Config("SASRec", "ml-100k", config_dict={"train_neg_sample_args": None})
    collector = BoundedCollector(config)
    with LargestAllocation(lambda tensor: not tensor.is_floating_point()) as largest:
        collector.eval_batch_collect(
            torch.randn(16, 5000), None, torch.arange(16), torch.arange(1, 17)
        )
    assert 0 < largest.numel <= 16 * 11


def test_metrics_that_crash_in_recbole_work():
    settings = {
        "train_neg_sample_args": None,
        "metrics": ["ItemCoverage", "GiniIndex"],
        "valid_metric": "ItemCoverage@5",
        "topk": [5],
    }
    config = Config("SASRec", "ml-100k", config_dict=settings)
    collector = BoundedCollector(config)
    collector.data_struct.set("data.num_items", 11)
    for _ in range(2):  # the data set's numbers survive from one evaluation to the next
        collector.eval_batch_collect(
            torch.arange(11.0).repeat(3, 1), None, torch.arange(3), torch.ones(3).long()
        )
        result = Evaluator(config).evaluate(collector.get_data_struct())
        assert result == pytest.approx({"itemcoverage@5": 5 / 11, "giniindex@5": 6 / 11}, abs=1e-4)
