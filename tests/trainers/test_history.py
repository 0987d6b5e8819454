"""Evaluation that leaves the items of a sequence out."""

from __future__ import annotations

import pytest
import torch

from recbole_compress.config import Config
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.trainers.collector import BoundedCollector, TopItems
from recbole_compress.trainers.history import exclude_history_, topk_without_history
from tests.conftest import SEQUENCES, write_interactions
from tests.refusals import refusal


@pytest.mark.parametrize("k", [1, 5, 12])
def test_topk_is_that_of_scores_without_the_history(k):
    torch.manual_seed(0)
    scores = torch.randn(7, 20)
    scores[:, 0] = -torch.inf
    item_seq = torch.randint(1, 20, (7, 6))
    item_seq[:3, 4:] = 0
    ids = topk_without_history(lambda number: scores.topk(number).indices, item_seq, k, 20)
    assert torch.equal(ids, exclude_history_(scores.clone(), item_seq).topk(k).indices)


def test_places_left_over_are_of_no_item():
    ids = topk_without_history(
        lambda number: torch.tensor([[3, 2, 1, 4]])[:, :number], torch.tensor([[1, 2, 3]]), 3, 5
    )
    assert ids.tolist() == [[4, 0, 0]]


@pytest.mark.parametrize("ids_alone", [True, False])
def test_what_was_taken_out_is_no_hit(ids_alone):
    """A target that the sequence holds, where there are more places than items left."""
    settings = {"train_neg_sample_args": None, "metrics": ["Hit"], "topk": [3]}
    settings["valid_metric"] = "Hit@3"
    collector = BoundedCollector(Config("SASRec", "ml-100k", config_dict=settings))
    scores = exclude_history_(torch.tensor([[0.0, 4, 3, 2, 1]]), torch.tensor([[1, 2, 3, 0]]))
    if ids_alone:
        scores = TopItems(torch.tensor([[4, 0, 0]]), 5)
    collector.eval_batch_collect(scores, None, torch.tensor([0]), torch.tensor([1]))
    assert collector.data_struct["rec.topk"].tolist() == [[0, 0, 0, 1]]


@pytest.mark.parametrize("model", ["CpRecGRU4Rec", "SASRec"])
@pytest.mark.parametrize("metrics", [["NDCG", "Hit"], ["NDCG", "Hit", "AveragePopularity"]])
def test_no_item_of_the_sequence_is_recommended(in_tmp, monkeypatch, model, metrics):
    """Both ways of evaluating: by a head's own top-k, and by scores of the whole catalogue."""
    seen = []
    collect = BoundedCollector.eval_batch_collect

    def spy(self, scores, interaction, *rest):
        k = 5
        ids = scores.ids[:, :k] if hasattr(scores, "ids") else scores.topk(k).indices
        history = interaction["item_id_list"]
        seen.append((ids.unsqueeze(2) == history.unsqueeze(1)).any().item())
        return collect(self, scores, interaction, *rest)

    monkeypatch.setattr(BoundedCollector, "eval_batch_collect", spy)
    data = write_interactions(in_tmp / "data", "tiny", SEQUENCES)
    settings = {
        "data_path": data,
        "epochs": 1,
        "MAX_ITEM_LIST_LENGTH": 6,
        "metrics": metrics,
        "topk": [5],
        "valid_metric": "NDCG@5",
        "threads": 1,
    }
    run_recbole_compress(model=model, dataset="tiny", config_dict=settings)
    assert any(seen)  # else this test would show nothing
    seen.clear()
    run_recbole_compress(
        model=model, dataset="tiny", config_dict={**settings, "exclude_history": True}
    )
    assert seen and not any(seen)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--eval_args={'mode': 'uni5'}"], "full rankings only"),
        (["--recipe=transfer", "--source_dataset=tiny"], "recipe=transfer"),
    ],
)
def test_refused_where_it_means_nothing(in_tmp, capsys, more, message):
    data = write_interactions(in_tmp / "data", "tiny", SEQUENCES)
    arguments = ["--model=CpRecGRU4Rec", "--dataset=tiny", f"--data_path={data}"]
    line = refusal(capsys, [*arguments, "--exclude_history=True", *more])
    assert line.startswith("error: exclude_history=True") and message in line
