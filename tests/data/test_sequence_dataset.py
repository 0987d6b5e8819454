"""Our index-based data set hands out RecBole's own rows, and the windows made from them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch
from recbole.config import Config
from recbole.data.dataset import SequentialDataset

from recbole_compress.data import AtomicFiles, SequenceDataset, train_item_counts
from recbole_compress.data.item_vectors import train_item_vectors
from recbole_compress.data.loaders import SimilarLengthSampler
from recbole_compress.data.sequence_dataset import TARGET_LIST_PREFIX
from recbole_compress.data.shown_sequences import shown_by_split
from recbole_compress.errors import ConfigError, DataError
from recbole_compress.quick_start.host_models import _with
from tests.conftest import write_interactions

SEQUENCES = [list("abcdefg"), list("bca"), list("cadeb"), list("ab"), list("hhhhhhhhhhhh")]


def make_config(data_path, name="tiny", **more):
    settings = {
        "data_path": data_path,
        "train_neg_sample_args": None,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": 4,
        **more,
    }
    return Config("SASRec", name, config_dict=settings)


def whole(dataset):
    return dataset[list(range(len(dataset)))]


def row_set(dataset, width):
    batch = whole(dataset)
    lists = batch["item_id_list"]
    lists = torch.nn.functional.pad(lists, (0, width - lists.shape[1]))
    columns = [batch[dataset.uid_field], batch["item_id"], batch["item_length"]]
    return sorted(map(tuple, torch.cat([torch.stack(columns, 1), lists], 1).tolist()))


@pytest.mark.parametrize("name", ["tiny", "ml-100k"])
def test_rows_equal_recboles(tmp_path, name):
    path = write_interactions(tmp_path, "tiny", SEQUENCES)
    config = make_config(path, name, training_targets="last")
    ours = SequenceDataset(config).build()
    theirs = SequentialDataset(config).build()
    for our, their in zip(ours, theirs, strict=True):
        assert row_set(our, 4) == row_set(their, 4)
    assert train_item_counts(ours[0]).equal(train_item_counts(theirs[0]))
    if name == "tiny":  # whole histories in both: RecBole cuts those of ml-100k
        mine, their = (train_item_vectors(split[0], 3) for split in (ours, theirs))
        torch.testing.assert_close(mine, their, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("split", [{"LS": "valid_and_test"}, {"RS": [0.6, 0.2, 0.2]}])
def test_windows_train_every_target_of_the_split_once_and_no_other(tmp_path, split):
    path = write_interactions(tmp_path, "tiny", SEQUENCES)
    eval_args = {"split": split, "order": "TO", "mode": "full", "group_by": "user"}
    train, _, _ = SequenceDataset(make_config(path, eval_args=eval_args)).build()
    batch = whole(train)
    targets = batch[TARGET_LIST_PREFIX + "item_id_list"]
    assert sorted(targets[targets > 0].tolist()) == sorted(train.inter_feat["item_id"].tolist())
    assert int(train.example_targets().sum()) == len(train.inter_feat)
    # what follows an input in the sequence is its target
    inputs = batch["item_id_list"]
    follows = (targets[:, :-1] > 0) & (inputs[:, 1:] > 0)
    assert inputs[:, 1:][follows].equal(targets[:, :-1][follows])
    token = train.field2token_id["item_id"]
    assert token["g"] not in targets  # u0's test item
    assert token["f"] not in targets  # u0's validation item


def test_counts_come_from_the_train_split_only(tmp_path):
    path = write_interactions(tmp_path, "tiny", SEQUENCES)
    train, _, _ = SequenceDataset(make_config(path)).build()
    counts = dict(zip(train.field2id_token["item_id"], train.item_counts().tolist(), strict=True))
    # RecBole trains u0 on abcde, u1 on bc, u2 on cad, u3 on ab (too short to hold out), u4 on ten h
    assert counts == {"[PAD]": 0, "a": 3, "b": 3, "c": 3, "d": 2, "e": 1, "f": 0, "g": 0, "h": 10}


def test_batches_are_padded_to_their_own_longest(tmp_path):
    path = write_interactions(tmp_path, "tiny", SEQUENCES)
    _, _, test = SequenceDataset(make_config(path, MAX_ITEM_LIST_LENGTH=50)).build()
    assert test[[0]]["item_id_list"].shape[1] == int(test.inter_feat["item_length"][0])
    lengths = test.inter_feat["item_length"].tolist()
    assert lengths == sorted(lengths)


def test_gzip_files_are_read_directly(tmp_path):
    plain = write_interactions(tmp_path / "plain", "tiny", SEQUENCES)
    zipped = tmp_path / "zipped" / "tiny"
    zipped.mkdir(parents=True)
    plain_bytes = Path(plain, "tiny", "tiny.inter").read_bytes()
    (zipped / "tiny.inter.gz").write_bytes(gzip.compress(plain_bytes))
    ours = SequenceDataset(make_config(str(tmp_path / "zipped"))).build()
    reference = SequenceDataset(make_config(plain)).build()
    for a, b in zip(ours, reference, strict=True):
        assert whole(a)["item_id_list"].equal(whole(b)["item_id_list"])


SPLIT = {
    "benchmark_filename": ["train", "valid", "test"],
    "USER_ID_FIELD": "session_id",
    "alias_of_item_id": ["item_id_list"],
    "load_col": {"inter": ["session_id", "item_id_list", "item_id"]},
}


def write_split(folder):
    target = folder / "split"
    target.mkdir()
    head = "session_id:token\titem_id_list:token_seq\titem_id:token\n"
    long = "a b c d e f g"
    (target / "split.train.inter").write_text(
        head + f"1\t{long}\th\n1\ta b\tc\n1\ta b c\td\n2\tb\tc\n2\tx y\tz\n"
    )
    (target / "split.valid.inter").write_text(head + "3\ta\tb\n")
    (target / "split.test.inter").write_text(head + f"4\t{long}\ta\n")
    return str(folder)


def test_split_files_keep_the_newest_items_and_each_target_once(tmp_path):
    train, valid, test = SequenceDataset(
        make_config(write_split(tmp_path), "split", **SPLIT)
    ).build()
    name = train.field2id_token["item_id"]
    assert name[test[[0]]["item_id_list"][0]].tolist() == list("defg")
    assert test[[0]]["item_length"].tolist() == [4]
    targets = whole(train)[TARGET_LIST_PREFIX + "item_id_list"]
    assert sorted(name[targets[targets > 0]]) == sorted("hcdcz")
    counts = dict(zip(name, train.item_counts().tolist(), strict=True))
    assert (counts["a"], counts["b"], counts["x"], counts["h"]) == (1, 2, 1, 1)


def test_recboles_models_get_histories_as_long_as_they_are_made_for(tmp_path):
    config = make_config(write_split(tmp_path), "split", **{**SPLIT, "MAX_ITEM_LIST_LENGTH": 9})
    for kind in (SequentialDataset, _with(AtomicFiles, SequentialDataset)):
        splits = kind(config).build()
        width = 9 if issubclass(kind, AtomicFiles) else 7  # the longest of the files
        assert [split.inter_feat["item_id_list"].shape[1] for split in splits] == [width] * 3
        rows = [row_set(split, 9) for split in splits]
        if kind is SequentialDataset:
            of_recboles = rows
    assert rows == of_recboles


@pytest.mark.parametrize("more", [{}, {"seq_len": {"item_id_list": 2}}])
def test_split_files_with_untidy_cells_are_read_as_recbole_reads_them(tmp_path, more):
    path = write_split(tmp_path)
    with (tmp_path / "split" / "split.valid.inter").open("a") as file:
        file.write("5\t b  q \ta\n5\t\tb\n6\tr\ts\n")
    more = {**SPLIT, **more, "training_targets": "last", "MAX_ITEM_LIST_LENGTH": 9}
    config = make_config(path, "split", **more)
    ours, theirs = SequenceDataset(config), SequentialDataset(config)
    for field in ("session_id", "item_id", "item_id_list"):
        assert ours.field2id_token[field].tolist() == theirs.field2id_token[field].tolist()
    for our, their in zip(ours.build(), theirs.build(), strict=True):
        assert row_set(our, 9) == row_set(their, 9)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"USER_ID_FIELD": "user"}, r"no column 'user' \(USER_ID_FIELD\).*--USER_ID_FIELD="),
        ({"ITEM_ID_FIELD": "sku"}, r"no column 'sku' \(ITEM_ID_FIELD\).* has user_id, item_id"),
        ({"load_col": {"inter": ["user_id"]}}, "no column 'item_id'.* add item_id to load_col"),
    ],
)
def test_a_column_that_is_not_there(tmp_path, settings, message):
    path = write_interactions(tmp_path, "named", SEQUENCES)
    with pytest.raises(DataError, match=message):
        SequenceDataset(make_config(path, "named", **settings))


@pytest.mark.parametrize("packed", [False, True])
def test_a_quotation_mark_swallows_no_rows(tmp_path, packed):
    rows = [f"u{n % 5}\ti{n % 7}\t{n}\t{{}}" for n in range(30)]
    header = "user_id:token\titem_id:token\ttimestamp:float\ttitle:token"
    titles = {"swallowing": {4: '"Great', 17: '"Bad'}, "harmless": {4: 'a "great" one', 9: '"x"'}}
    for name, special in titles.items():
        lines = [header, *(row.format(special.get(n, "plain")) for n, row in enumerate(rows)), ""]
        text = "\n".join(lines).encode()
        folder = tmp_path / name
        folder.mkdir()
        ending = ".gz" if packed else ""
        (folder / f"{name}.inter{ending}").write_bytes(gzip.compress(text) if packed else text)
    with pytest.raises(DataError, match="of 30 rows 17 can be told apart: a cell that begins"):
        SequenceDataset(make_config(str(tmp_path), "swallowing"))
    assert len(SequenceDataset(make_config(str(tmp_path), "harmless")).inter_feat) == 30


def test_tokens_that_elsewhere_mean_nothing_are_tokens(tmp_path):
    names = ["NA", "null", "None", "nan", "N/A", "-nan"]
    path = write_interactions(tmp_path, "named", [*SEQUENCES, names, names])
    extra = ["None\tNA\t0", "None\tnull\t1", "None\tnan\t2"]
    path = write_interactions(tmp_path, "named", [*SEQUENCES, names, names], extra)
    dataset = SequenceDataset(make_config(path, "named"))
    assert set(names) <= set(dataset.field2token_id["item_id"])
    assert "None" in dataset.field2token_id["user_id"]
    assert len(dataset.inter_feat) == sum(map(len, SEQUENCES)) + 2 * len(names) + len(extra)


def test_rows_without_a_user_or_an_item_go_and_no_others(tmp_path):
    extra = ["\ta\t0", "u0\t\t9", "\t\t1", "u9\ta\t0", "u9\tz\t1", "u9\tc\t2"]
    path = write_interactions(tmp_path, "gaps", [], extra)
    with open(tmp_path / "gaps" / "gaps.inter", "a") as file:
        file.writelines(
            f"u{u}\t{i}\t{t}\n" for u, s in enumerate(SEQUENCES) for t, i in enumerate(s)
        )
    dataset = SequenceDataset(make_config(path, "gaps"))
    assert len(dataset.inter_feat) == sum(map(len, SEQUENCES)) + 3
    assert (dataset.inter_feat["item_id"] > 0).all() and (dataset.inter_feat["user_id"] > 0).all()
    assert "z" in dataset.field2token_id["item_id"]


def test_split_files_with_rows_without_an_item_are_refused(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    header = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
    for part in ("train", "valid", "test"):
        (folder / f"parts.{part}.inter").write_text(header + "1\ta b\tc\n2\ta\t\n3\tb\ta\n")
    config = make_config(
        str(tmp_path),
        "parts",
        benchmark_filename=["train", "valid", "test"],
        alias_of_item_id=["item_id_list"],
        load_col={"inter": ["user_id", "item_id_list", "item_id"]},
    )
    with pytest.raises(DataError, match="1 rows of parts.train.inter have no item_id"):
        SequenceDataset(config)


@pytest.mark.parametrize("packed", [False, True])
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path, packed):
    path = write_interactions(tmp_path, "bom", SEQUENCES)
    file = tmp_path / "bom" / "bom.inter"
    text = b"\xef\xbb\xbf" + file.read_bytes()
    if packed:
        file.unlink()
        (tmp_path / "bom" / "bom.inter.gz").write_bytes(gzip.compress(text))
    else:
        file.write_bytes(text)
    dataset = SequenceDataset(make_config(path, "bom"))
    assert len(dataset.inter_feat) == sum(map(len, SEQUENCES))


def test_missing_time_missing_file_empty_file(tmp_path):
    path = write_interactions(tmp_path, "timeless", SEQUENCES, times=False)
    config = make_config(path, "timeless", load_col={"inter": ["user_id", "item_id"]})
    with pytest.raises(DataError, match="no column 'timestamp'.*TIME_FIELD"):
        SequenceDataset(config).build()
    with pytest.raises(DataError, match="no folder.*nowhere.inter"):
        SequenceDataset(make_config(path, "nowhere"))
    (tmp_path / "hollow").mkdir()
    with pytest.raises(DataError, match="neither hollow.inter nor hollow.inter.gz"):
        SequenceDataset(make_config(path, "hollow"))
    (tmp_path / "hollow" / "hollow.inter").write_text("user_id:token\titem_id:token\n")
    with pytest.raises(DataError, match="holds no interactions"):
        SequenceDataset(make_config(path, "hollow"))
    (tmp_path / "hollow" / "hollow.inter").write_text("user_id\titem_id:tokn\n")
    with pytest.raises(DataError, match="header names 'user_id'"):
        SequenceDataset(make_config(path, "hollow"))
    (tmp_path / "cut").mkdir()
    whole_file = gzip.compress(
        b"user_id:token\titem_id:token\ttimestamp:float\n" + b"a\tb\t1\n" * 999
    )
    (tmp_path / "cut" / "cut.inter.gz").write_bytes(whole_file[: len(whole_file) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        SequenceDataset(make_config(path, "cut"))


def test_users_with_one_item_only_leave_nothing_to_predict(tmp_path):
    path = write_interactions(tmp_path, "ones", [["a"], ["b"]])
    with pytest.raises(DataError, match="no user has two or more"):
        SequenceDataset(make_config(path, "ones")).build()


@pytest.mark.parametrize("kind", [SequenceDataset, _with(AtomicFiles, SequentialDataset)])
def test_sampled_items_are_ranked_by_user_of_which_rows_are_warned(tmp_path, caplog, kind):
    path = write_interactions(tmp_path, "tiny", SEQUENCES)

    def said(split, mode):
        eval_args = {"split": split, "order": "TO", "mode": mode}
        caplog.clear()
        kind(make_config(path, eval_args=eval_args, state="WARNING")).build()
        return [line for line in caplog.messages if "in one list" in line]

    (line,) = said({"RS": [5, 1, 4]}, {"valid": "full", "test": "uni2"})
    assert line.startswith("eval_args mode='uni2': the test split has 8 rows of 4 users, and RecB")
    assert said({"LS": "valid_and_test"}, "uni2") == said({"RS": [5, 1, 4]}, "full") == []


def test_evaluation_batch_is_bounded_by_its_score_matrix(tmp_path):
    path = write_interactions(tmp_path, "tiny", SEQUENCES)
    config = make_config(path, eval_score_bytes=4 * 9 * 3)  # three rows of nine ids
    SequenceDataset(config).build()
    assert config["eval_batch_size"] == 3


@pytest.mark.parametrize(
    "mode, examples",
    [("uni4", 3 * 5), ("pop2", 3 * 3), ({"valid": "uni4", "test": "full"}, 3)],
)
def test_the_samples_of_a_row_share_its_scores(tmp_path, mode, examples):
    path = write_interactions(tmp_path, "tiny", SEQUENCES)
    eval_args = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": mode}
    config = make_config(path, eval_score_bytes=4 * 9 * 3, eval_args=eval_args)
    SequenceDataset(config).build()
    assert config["eval_batch_size"] == examples


@pytest.mark.parametrize("kind", [SequenceDataset, _with(AtomicFiles, SequentialDataset)])
def test_times_that_become_one_are_told_once_where_the_file_has_them_out_of_order(
    tmp_path, caplog, kind
):
    def order(rows):
        """The items of user ``u``, and what is said of them."""
        (tmp_path / "close").mkdir(exist_ok=True)
        header = "user_id:token\titem_id:token\ttimestamp:float\n"
        rows = [f"{user}\t{item}\t{time}\n" for user, item, time in rows]
        (tmp_path / "close" / "close.inter").write_text(header + "".join(rows))
        caplog.clear()
        train = kind(make_config(str(tmp_path), "close", state="WARNING")).build()[0]
        owner, items = shown_by_split(train)
        said = [line for line in caplog.messages if "32-bit" in line]
        return "".join(train.field2id_token["item_id"][items[owner == 0]]), said

    now = 881250000
    rows = [("u", item, now + second) for item, second in zip("abcdef", range(6), strict=True)]
    far = [("v", item, now + 1000 * n) for n, item in enumerate("fedcba")]
    assert order(rows + far[::-1]) == ("abcd", [])
    swapped, said = order([rows[1], rows[0], *rows[2:], *far])
    assert swapped == "bacd"  # as RecBole has it
    (line,) = said
    assert line.startswith("dataset=close: 1 of 2 users have") and line.endswith("in theirs")
    early = [(user, item, time - now) for user, item, time in rows[::-1] + far]
    assert order(early) == ("abcd", [])


def test_labels_are_needed_where_they_are_evaluated(tmp_path):
    (tmp_path / "rated").mkdir()
    rows = [
        f"{user}\t{item}\t{time}\t{time % 2}\n"
        for user in "uv"
        for time, item in enumerate("abcde")
    ]
    header = "user_id:token\titem_id:token\ttimestamp:float\tlabel:float\n"
    (tmp_path / "rated" / "rated.inter").write_text(header + "".join(rows))
    columns = ["user_id", "item_id", "timestamp", "label"]
    labeled = {
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "labeled"},
        **{"metrics": ["AUC"], "valid_metric": "AUC"},
    }
    for kind in (SequenceDataset, _with(AtomicFiles, SequentialDataset)):
        with pytest.raises(ConfigError, match="mode='labeled': the valid split has no column 'la"):
            kind(make_config(str(tmp_path), "rated", **labeled)).build()
        config = make_config(str(tmp_path), "rated", load_col={"inter": columns}, **labeled)
        assert "label" in kind(config).build()[2].inter_feat
        renamed = {**labeled, "LABEL_FIELD": "good", "threshold": {"label": 1}}
        config = make_config(str(tmp_path), "rated", load_col={"inter": columns}, **renamed)
        assert "good" in kind(config).build()[2].inter_feat


@pytest.mark.parametrize("device, rows", [("cpu", 2**24 // (4 * 9)), ("cuda", 2**28 // (4 * 9))])
def test_evaluation_batch_is_larger_on_a_gpu(tmp_path, device, rows):
    path = write_interactions(tmp_path, "tiny", SEQUENCES)
    config = make_config(path, eval_batch_size=2**30, use_gpu=False)
    config.final_config_dict["device"] = torch.device(device)
    SequenceDataset(config).build()
    assert config["eval_batch_size"] == rows


def test_sampler_covers_all_once_in_even_batches():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 50, (1000,), generator=generator)
    targets = lengths.clamp(max=20)
    sampler = SimilarLengthSampler(lengths, targets, 100, generator)
    n_batches = len(sampler)
    batches = list(sampler)
    assert len(batches) == n_batches
    assert sorted(i for batch in batches for i in batch) == list(range(1000))
    assert max(int(targets[batch].sum()) for batch in batches) <= 100 + 20
    padding = sum(int(lengths[b].max()) * len(b) - int(lengths[b].sum()) for b in batches)
    assert padding < 0.1 * int(lengths.sum())
    assert list(sampler) != batches  # every epoch is shuffled anew
