"""Ranks of the test rows: the metrics that they give are RecBole's, for our models and its own."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_compress.errors import ConfigError, DataError
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.trainers.ranks import RankRecorder, read_ranks
from tests.conftest import SEQUENCES, write_interactions

TOPK = [1, 3, 5, 10]


def run(model, folder, **more):
    settings = {
        "data_path": write_interactions(folder, "tiny", SEQUENCES),
        "epochs": 1,
        "MAX_ITEM_LIST_LENGTH": 6,
        "state": "ERROR",
        "threads": 1,
        "show_progress": False,
        "metrics": ["NDCG", "Hit", "MRR", "Recall", "Precision", "MAP"],
        "topk": TOPK,
        "metric_decimal_place": 10,
        "valid_metric": "NDCG@10",
        "eval_batch_size": 7,
        "ranks_path": "ranks.npz",
    }
    return run_recbole_compress(model, "tiny", config_dict={**settings, **more})


def worth(metric, rank, k):
    if not 1 <= rank <= k:
        return 0.0
    reciprocal = 1 / rank
    return {
        "ndcg": 1 / np.log2(rank + 1),
        "precision": 1 / k,
        "mrr": reciprocal,
        "map": reciprocal,
    }.get(metric, 1.0)


@pytest.mark.parametrize("model", ["CpRecNextItNet", "SASRec", "Pop", "Recency"])
def test_metrics_from_ranks_are_recboles(in_tmp, model):
    result = run(model, in_tmp)
    records = read_ranks("ranks.npz")
    assert len(records.ranks) == len(SEQUENCES)
    assert records.depth == max(TOPK)
    for name, value in result["test_result"].items():
        metric, k = name.split("@")
        mean = np.mean([worth(metric, rank, int(k)) for rank in records.ranks])
        assert round(mean, 10) == pytest.approx(value, abs=2e-10), name
    assert records.ranks.any()


@pytest.mark.parametrize("model", ["CpRecNextItNet", "SASRec"])
def test_rows_say_whose_they_are(in_tmp, model):
    run(model, in_tmp)
    records = read_ranks("ranks.npz")
    targets = dict(zip(records.users.tolist(), records.items.tolist(), strict=True))
    assert targets == {f"u{u}": items[-1] for u, items in enumerate(SEQUENCES)}
    trained = [item for items in SEQUENCES for item in items[:-2]]  # leave-one-out
    read = {f"u{u}": items[-7:-1] for u, items in enumerate(SEQUENCES)}  # of 6 items at most
    again = [i in read[u] for u, i in zip(records.users, records.items, strict=True)]
    assert records.repeated.tolist() == again and 0 < sum(again) < len(again)
    expected = [trained.count(item) for item in records.items]
    assert records.counts.tolist() == expected
    catalogue = {item for items in SEQUENCES for item in items}
    every = sorted((trained.count(item) for item in catalogue), reverse=True)
    assert records.item_counts.tolist() == every


def test_without_the_key_nothing_is_written(in_tmp):
    run("Pop", in_tmp, ranks_path=None)
    assert list(in_tmp.glob("**/*.npz")) == []


def test_a_test_split_without_rows_has_no_ranks(in_tmp, capsys):
    result = run("Pop", in_tmp, eval_args={"split": {"LS": "valid_only"}}, state="WARNING")
    assert result["test_result"] is None and result["best_valid_result"]
    assert result["card"]["latency_ms"]["p50"] > 0  # of requests of the valid split
    assert list(in_tmp.glob("**/*.npz")) == []
    told = "ranks_path=ranks.npz: the test split has no rows; no file is written"
    assert capsys.readouterr().err.count(told) == 1


def test_nothing_in_the_file_is_pickled(in_tmp):
    run("Pop", in_tmp)
    with zipfile.ZipFile("ranks.npz") as file:
        assert all(b"'descr': '|O'" not in file.read(name)[:128] for name in file.namelist())


def test_sampled_evaluation_is_refused_before_training(in_tmp):
    with pytest.raises(ConfigError, match="ranks_path='ranks.npz': .*mode='uni10'"):
        run("CpRecNextItNet", in_tmp, eval_args={"mode": "uni10", "order": "TO"})
    assert list(in_tmp.glob("**/*.pth")) == []


def test_several_targets_in_a_row_are_refused():
    recorder = RankRecorder("user_id", "item_id_list")
    topk = torch.tensor([[1, 2], [3, 4]])
    users = {"user_id": torch.tensor([1, 2])}
    with pytest.raises(DataError, match="several targets"):
        recorder.collect(topk, users, torch.tensor([0, 0, 1]), torch.tensor([1, 2, 3]))


def test_a_damaged_file_is_one_clear_line(tmp_path):
    path = tmp_path / "ranks.npz"
    np.savez(path, users=np.array([{}], dtype=object))
    for content in (path.read_bytes(), b"PK\x03\x04 and no more"):
        Path(path).write_bytes(content)
        with pytest.raises(DataError, match="not a file of ranks"):
            read_ranks(str(path))
