"""Rows of one data set after histories of another, against the plainest way to make them."""

from __future__ import annotations

import math
import random

import pytest
import torch

from recbole_compress.config import Config
from recbole_compress.data import SequenceDataset, candidates
from recbole_compress.data.candidates import draw_candidates
from recbole_compress.data.transfer_dataset import TransferDataset
from recbole_compress.errors import ConfigError, DataError
from recbole_compress.quick_start.pretraining import check_pretraining

L = 4


def write(folder, name, rows):
    (folder / name).mkdir(parents=True, exist_ok=True)
    lines = [f"{user}\t{item}\t{time}" for user, item, time in rows]
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / name / f"{name}.inter").write_text("\n".join([header, *lines]) + "\n")


def interactions(users, items, seed, per_user=(1, 13)):
    chance = random.Random(seed)
    rows = [
        (user, f"{items}{chance.randrange(15)}", chance.randrange(20))
        for user in users
        for _ in range(chance.randrange(*per_user))
    ]
    chance.shuffle(rows)
    return rows


SOURCE = interactions([f"u{n}" for n in range(40)], "s", 1)
TARGET = interactions([f"u{n}" for n in range(8, 50)], "t", 2)


def dataset(folder, target=TARGET, source=SOURCE, **more):
    write(folder, "source", source)
    write(folder, "target", target)
    common = {"data_path": str(folder), "MAX_ITEM_LIST_LENGTH": L, "state": "WARNING"}
    its = SequenceDataset(Config("CpRecNextItNet", "source", config_dict=common))
    ours = {**common, "recipe": "transfer", "source_dataset": "source", **more}
    return TransferDataset(Config("CpRecNextItNet", "target", config_dict=ours), its.build()[0])


def tokens(split, field, ids):
    return [str(token) for token in split.field2id_token[field][torch.as_tensor(ids).numpy()]]


def rows_of(split):
    """What a split's rows say, in tokens: user, newest source items, target."""
    batch = split[torch.arange(len(split.inter_feat))]
    found = []
    for n in range(len(split.inter_feat)):
        length = int(batch["item_length"][n])
        history = tokens(split.source, "item_id", batch["item_id_list"][n, :length])
        (user,) = tokens(split, "user_id", [int(batch["user_id"][n])])
        (target,) = tokens(split, "item_id", [int(batch["item_id"][n])])
        found.append((user, tuple(history), target))
    return sorted(found)


def naive(history):
    expected = []
    for user, target, moment in TARGET:
        its = [row for row in SOURCE if row[0] == user and (history == "whole" or row[2] < moment)]
        its.sort(key=lambda row: row[2])  # stable: equal times in the order of the file
        if its:
            expected.append((user, tuple(item for _, item, _ in its[-L:]), target))
    return sorted(expected)


@pytest.mark.parametrize("history", ["before", "whole"])
def test_a_row_follows_what_its_user_had_done_by_then(tmp_path, history):
    made = dataset(tmp_path, source_history=history, training_targets="last")
    splits = made.build()
    found = sorted(row for split in splits for row in rows_of(split))
    assert found == naive(history)
    assert made.shared["rows of shared users"] - made.shared[
        "rows without a source history yet"
    ] == (len(found))


@pytest.mark.parametrize("history", ["before", "whole"])
@pytest.mark.parametrize("stride", [1, 3])
def test_windows_hold_the_rows_of_the_train_split_once(tmp_path, history, stride):
    settings = {"source_history": history, "window_stride": stride}
    rows = dataset(tmp_path, training_targets="last", **settings).build()[0]
    train = dataset(tmp_path, training_targets="all", **settings).build()[0]
    batch = train[torch.arange(len(train))]
    assert train.example_targets().sum() == len(rows) == int((batch["targets"] > 0).sum())
    assert len(train) < len(rows)
    found = []
    for n in range(len(train)):
        length = int(batch["item_length"][n])
        window = tokens(train.source, "item_id", batch["item_id_list"][n, :length])
        for target, position in zip(batch["targets"][n], batch["target_positions"][n], strict=True):
            if target > 0:
                assert position < length
                found.append((window[: position + 1], *tokens(train, "item_id", [int(target)])))
    # A window may show less of the history than a row does, never more and nothing else.
    expected = [(list(history), target) for _, history, target in rows_of(rows)]
    assert sorted(target for _, target in found) == sorted(target for _, target in expected)
    for context, target in found:
        assert any(
            target == other
            and history[-len(context) :] == context  # a longer one is no end of it
            and len(context) >= min(L + 1 - stride, len(history))
            for history, other in expected
        )
    if stride == 1:  # then every target has all the context that fits
        assert sorted(found) == sorted(expected)


def test_users_are_split_apart_and_alike_for_every_seed(tmp_path):
    made = [dataset(tmp_path, seed=seed).build() for seed in (1, 2)]
    users = [[set(split.inter_feat["user_id"].tolist()) for split in splits] for splits in made]
    assert users[0] == users[1] and all(users[0])
    assert not (users[0][0] & users[0][1] | users[0][0] & users[0][2] | users[0][1] & users[0][2])
    everybody = set.union(*users[0])
    assert [len(part) for part in users[0]] == [
        round(0.8 * len(everybody)),
        round(0.9 * len(everybody)) - round(0.8 * len(everybody)),
        len(everybody) - round(0.9 * len(everybody)),
    ]
    for one, other in zip(made[0][1:], made[1][1:], strict=True):
        assert torch.equal(one.inter_feat["candidates"], other.inter_feat["candidates"])
    another = dataset(tmp_path, split_seed=7).build()
    assert set(another[0].inter_feat["user_id"].tolist()) != users[0][0]


def test_interactions_are_split_as_eval_args_says(tmp_path):
    arguments = {"split": {"RS": [0.5, 0.25, 0.25]}, "order": "RO", "group_by": None}
    more = {"target_split": "interactions", "training_targets": "last"}
    parts = dataset(tmp_path, eval_args={**arguments, "mode": "full"}, **more).build()
    sizes = [len(part.inter_feat) for part in parts]
    assert abs(sizes[0] - sum(sizes) / 2) <= 2
    users = [set(part.inter_feat["user_id"].tolist()) for part in parts]
    assert users[0] & users[2]
    assert sorted(row for part in parts for row in rows_of(part)) == naive("before")
    timed = {**arguments, "order": "TO", "mode": "full"}
    parts = dataset(tmp_path, eval_args=timed, **more).build()
    latest = [part.inter_feat["timestamp"] for part in parts]
    assert latest[0].max() <= latest[1].min() and latest[1].max() <= latest[2].min()


def test_candidates_are_others_each_once():
    targets = torch.randint(1, 30, (200,))
    drawn = draw_candidates(targets, 30, 9, seed=3)
    assert drawn.shape == (200, 9) and drawn.min() == 1 and drawn.max() == 29
    assert not (drawn == targets[:, None]).any()
    assert all(len(set(row.tolist())) == 9 for row in drawn)
    assert torch.equal(drawn, draw_candidates(targets, 30, 9, seed=3))
    assert not torch.equal(drawn, draw_candidates(targets, 30, 9, seed=4))
    counts = torch.bincount(drawn.flatten().long(), minlength=30)[1:]
    assert counts.min() > 0.6 * counts.float().mean()  # no item is left out of the draw
    assert draw_candidates(targets, 30, 99, seed=3).shape == (200, 28)


@pytest.mark.parametrize(("n_items", "n"), [(7, 1), (7, 2), (7, 3), (7, 4), (7, 5), (400, 99)])
def test_every_set_of_candidates_is_as_likely_as_any(n_items, n):
    targets = torch.full((6000,), 3)
    drawn = draw_candidates(targets, n_items, n, seed=5)
    ordered = drawn.sort().values
    assert not (drawn == 3).any() and drawn.min() >= 1 and drawn.max() < n_items
    assert (ordered.diff() > 0).all()
    if n_items == 7:
        sets, counts = torch.unique(ordered, dim=0, return_counts=True)
        assert len(sets) == math.comb(5, n)
        assert (counts / counts.float().mean() - 1).abs().max() < 0.15  # of 600: six deviations
    counts = torch.bincount(drawn.flatten().long(), minlength=n_items)
    counts = counts[[i for i in range(1, n_items) if i != 3]]
    assert (counts / counts.float().mean() - 1).abs().max() < 0.15


@pytest.mark.parametrize("n", [5, 40, 70])
def test_candidates_depend_on_the_rows_own_number(n, monkeypatch):
    targets, rows = torch.randint(1, 90, (300,)), torch.randperm(1000)[:300]
    drawn = draw_candidates(targets, 90, n, 3, rows)
    some = torch.randperm(300)[:100]
    assert torch.equal(draw_candidates(targets[some], 90, n, 3, rows[some]), drawn[some])
    monkeypatch.setattr(candidates, "_CELLS", 1000)  # however many are drawn at a time
    assert torch.equal(draw_candidates(targets, 90, n, 3, rows), drawn)
    assert draw_candidates(targets[:0], 90, n, 3).shape == (0, n)
    assert draw_candidates(torch.tensor([1]), 2, n, 3).shape == (1, 0)


def candidates_by_row(made):
    found = {}
    for split in made.build()[1:]:
        its = split.inter_feat
        assert set(its.columns).isdisjoint({"target_row"})
        for n in range(len(its)):
            row = tuple(int(its[field][n]) for field in ("user_id", "item_id", "timestamp"))
            found.setdefault(row, []).append(sorted(its["candidates"][n].tolist()))
    return {row: sorted(drawn) for row, drawn in found.items()}


@pytest.mark.parametrize(
    ("more", "least"),
    [
        ({"MAX_ITEM_LIST_LENGTH": 2}, 1.0),
        ({"MAX_ITEM_LIST_LENGTH": 9, "training_targets": "last", "seed": 7}, 1.0),
        ({"source_history": "whole"}, 0.3),  # other rows have a history, and other users
    ],
)
def test_a_row_has_the_same_candidates_for_every_model(tmp_path, more, least):
    shares = {"split": {"RS": [0.2, 0.4, 0.4]}, "order": "RO", "group_by": None, "mode": "full"}
    settings = {"sampled_candidates": 5, "eval_args": shares}
    usual = candidates_by_row(dataset(tmp_path, **settings))
    other = candidates_by_row(dataset(tmp_path, **{**settings, **more}))
    both = set(usual) & set(other)
    assert len(both) >= least * len(usual) > 0
    assert all(usual[row] == other[row] for row in both)


def test_nobody_shared_few_shared_and_nothing_before(tmp_path, caplog):
    strangers = [(f"x{user}", item, time) for user, item, time in SOURCE]
    with pytest.raises(DataError, match=r"none of the \d+ and 40 users are shared \('u\d+' is one"):
        dataset(tmp_path, source=strangers).build()
    few = [row for row in SOURCE if row[0] == "u9"] + strangers
    lonely = pytest.raises(DataError, match=r"1 shared users split into \[\d+, 0, 0\]")
    with caplog.at_level("WARNING"), lonely:
        dataset(tmp_path, source=few, source_history="whole").build()
    assert "only 1 of the 42 users of target are in source" in caplog.text
    late = [(user, item, 100 + time) for user, item, time in SOURCE]
    with pytest.raises(DataError, match=r"32 users are shared .* none had done anything there bef"):
        dataset(tmp_path, source=late).build()


@pytest.mark.parametrize("scaled", [{"normalize_all": True}, {"normalize_field": ["timestamp"]}])
def test_times_on_two_scales_are_not_compared(tmp_path, scaled):
    with pytest.raises(ConfigError, match="^dataset=target: normalize_.* normalize_all=False"):
        dataset(tmp_path, **scaled)
    more = {"source_history": "whole", "training_targets": "last"}
    parts = dataset(tmp_path, **more, **scaled).build()
    assert sorted(row for part in parts for row in rows_of(part)) == naive("whole")
    common = {"data_path": str(tmp_path), "MAX_ITEM_LIST_LENGTH": L, "state": "WARNING"}
    config = Config("CpRecNextItNet", "source", config_dict={**common, **scaled})
    source = SequenceDataset(config).build()[0]
    more = {**common, "recipe": "transfer", "source_dataset": "source"}
    config = Config("CpRecNextItNet", "target", config_dict=more)
    with pytest.raises(ConfigError, match="^source_dataset=source: normalize_"):
        TransferDataset(config, source)
    with pytest.raises(ConfigError, match="^source_dataset=source: normalize_"):
        check_pretraining(config.with_values(pretraining=scaled))
