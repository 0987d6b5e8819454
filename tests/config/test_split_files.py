"""Which files and columns a data set is read from."""

from __future__ import annotations

import gzip

import pytest
from recbole.config import Config as RecBoleConfig

from recbole_compress.config import Config
from recbole_compress.errors import ConfigError

SPLIT = ["train", "valid", "test"]
ROWS = "user_id:token\titem_id:token\ttimestamp:float\n1\t2\t3\n"


def write(folder, name, text, packed=False):
    folder.mkdir(exist_ok=True)
    if packed:
        with gzip.open(folder / f"{name}.gz", "wt", encoding="utf-8") as file:
            file.write(text)
    else:
        (folder / name).write_text(text)


def write_split(folder, name, user="session_id", parts=SPLIT, packed=False):
    text = f"{user}:token\titem_id_list:token_seq\titem_id:token\n1\t2 3\t4\n"
    for part in parts:
        write(folder / name, f"{name}.{part}.inter", text, packed)


def config(folder, dataset="mine", cls=Config, model="CpRecNextItNet", **settings):
    return cls(model, dataset, config_dict={"data_path": str(folder), **settings})


@pytest.mark.parametrize("packed", [False, True])
def test_all_three_files_make_a_split(tmp_path, packed):
    write_split(tmp_path, "mine", packed=packed)
    write(tmp_path / "mine", "mine.inter", ROWS)
    found = config(tmp_path)
    assert found["benchmark_filename"] == SPLIT
    assert found["alias_of_item_id"] == ["item_id_list"]
    assert found["load_col"] == {"inter": ["session_id", "item_id_list", "item_id"]}
    assert found["USER_ID_FIELD"] == "session_id"
    # RecBole's own functions see our models' data the same way
    assert config(tmp_path, cls=RecBoleConfig)["benchmark_filename"] == SPLIT


def test_two_of_three_files_make_none(tmp_path):
    write_split(tmp_path, "mine", parts=["train", "test"])
    write(tmp_path / "mine", "mine.inter", ROWS)
    found = config(tmp_path)
    assert found["benchmark_filename"] is None
    assert found["load_col"] == {"inter": ["user_id", "item_id", "timestamp"]}
    with pytest.raises(ConfigError, match=r"split_files=always: mine\.valid\.inter .*mine"):
        config(tmp_path, split_files="always")


def test_of_histories_the_newest_items_are_kept(tmp_path):
    write_split(tmp_path, "mine")
    with pytest.raises(ConfigError, match="seq_len=.*oldest items of item_id_list; give MAX_ITEM"):
        config(tmp_path, seq_len={"item_id_list": 3})


def test_columns_to_leave_out_in_place_of_columns_to_load(tmp_path):
    write(tmp_path / "mine", "mine.inter", ROWS)
    assert config(tmp_path, unload_col={"inter": ["rating"]})["load_col"] is None


def test_split_files_without_the_items_so_far_are_refused(tmp_path):
    for part in SPLIT:
        write(tmp_path / "mine", f"mine.{part}.inter", ROWS)
    for settings in ({}, {"split_files": "always"}, {"benchmark_filename": SPLIT}):
        with pytest.raises(ConfigError, match="mine.train.inter has no column 'item_id_list'"):
            config(tmp_path, **settings)
    write(tmp_path / "mine", "mine.inter", ROWS)
    assert config(tmp_path, split_files="never")["benchmark_filename"] is None


def test_never_and_a_typo(tmp_path):
    write_split(tmp_path, "mine")
    write(tmp_path / "mine", "mine.inter", ROWS)
    assert config(tmp_path, split_files="never")["benchmark_filename"] is None
    with pytest.raises(ConfigError, match="did you mean 'always'"):
        config(tmp_path, split_files="allways")
    with pytest.raises(ConfigError, match="did you mean 'always'"):
        config(tmp_path, split_files="allways", cls=RecBoleConfig)


def test_what_the_user_says_stays(tmp_path):
    write_split(tmp_path, "mine")
    write(tmp_path / "mine", "mine.inter", ROWS)
    columns = {"inter": ["user_id", "item_id", "timestamp", "rating"]}
    found = config(tmp_path, load_col=columns)
    assert found["load_col"] == columns and found["benchmark_filename"] is None
    with pytest.raises(ConfigError, match="load_col has no 'item_id_list'"):
        config(tmp_path, load_col=columns, split_files="always")

    found = config(tmp_path, benchmark_filename=None)
    assert found["benchmark_filename"] is None
    assert found["load_col"]["inter"] == ["user_id", "item_id", "timestamp"]
    write_split(tmp_path, "other", parts=["a", "b", "c"])
    found = config(tmp_path, "other", benchmark_filename=["a", "b", "c"])
    assert found["benchmark_filename"] == ["a", "b", "c"]
    assert found["load_col"]["inter"] == ["session_id", "item_id_list", "item_id"]
    assert config(tmp_path, USER_ID_FIELD="person")["USER_ID_FIELD"] == "person"


@pytest.mark.parametrize("user", ["user_id", "session_id"])
@pytest.mark.parametrize("dataset", ["tmall", "ml-1m", "unheard-of"])
def test_the_header_says_whose_sequences_they_are(tmp_path, dataset, user):
    text = ROWS.replace("user_id", user)
    write(tmp_path / dataset, f"{dataset}.inter", text, packed=True)
    found = config(tmp_path, dataset)
    assert found["USER_ID_FIELD"] == user
    assert found["load_col"] == {"inter": [user, "item_id", "timestamp"]}


def test_a_file_without_times_is_not_asked_for_them(tmp_path):
    write(tmp_path / "mine", "mine.inter", "user_id:token\titem_id:token\n1\t2\n")
    assert config(tmp_path)["load_col"] == {"inter": ["user_id", "item_id"]}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"\x1f\x8b not gzip"])
def test_a_damaged_file_is_left_to_the_loading(tmp_path, content):
    (tmp_path / "tmall").mkdir()
    for name in ("tmall.inter", "tmall.inter.gz"):
        (tmp_path / "tmall" / name).write_bytes(content)
        assert config(tmp_path, "tmall")["USER_ID_FIELD"] == "session_id"
        (tmp_path / "tmall" / name).unlink()


def test_no_files_at_all(tmp_path):
    found = config(tmp_path, "retailrocket")
    assert found["USER_ID_FIELD"] == "session_id" and found["benchmark_filename"] is None


def test_ml_100k_is_recboles(tmp_path):
    write_split(tmp_path, "ml-100k")
    assert config(tmp_path, "ml-100k")["benchmark_filename"] is None


def test_models_with_further_tables_keep_them(tmp_path):
    write(tmp_path / "ml-1m", "ml-1m.inter", ROWS)
    columns = config(tmp_path, "ml-1m", model="GRU4RecKG")["load_col"]
    assert columns["ent"] == ["ent_id", "ent_emb"]
    assert "timestamp" in columns["inter"]


def test_recboles_models_in_recboles_config_are_left_alone(tmp_path):
    write_split(tmp_path, "mine")
    found = config(tmp_path, cls=RecBoleConfig, model="SASRec", train_neg_sample_args=None)
    assert found["benchmark_filename"] is None and "split_files" not in found
    assert config(tmp_path, model="SASRec")["benchmark_filename"] == SPLIT
