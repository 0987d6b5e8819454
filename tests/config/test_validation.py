"""What is refused, and whether the line helps."""

from __future__ import annotations

import numpy as np
import pytest

from recbole_compress.config.model_names import find_model
from recbole_compress.config.schema import Declared, declared_in, load_schema
from recbole_compress.config.validation import (
    check_keys,
    check_metrics,
    check_transform,
)
from recbole_compress.errors import ConfigError


def refusal(given, model="CpRecNextItNet"):
    schema = load_schema(model, "ml-100k", find_model(model))
    with pytest.raises(ConfigError) as error:
        check_keys(given, schema, dict.fromkeys(given, "mine.yaml"), {}, model)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_unknown_key_is_named_with_its_source_and_the_nearest():
    line = refusal({"learning_rat": 0.1})
    assert line.startswith("learning_rat (mine.yaml): unknown key; did you mean 'learning_rate'")
    assert "'MAX_ITEM_LIST_LENGTH'" in refusal({"max_item_list_length": 3})
    assert "'item_head'" in refusal({"itme_head": "tied"})


def test_a_key_of_another_model_is_told_so():
    line = refusal({"n_layers": 3})
    assert "key of CpRecSASRec" in line and "not of CpRecNextItNet" in line
    assert "not of GRU4Rec" in refusal({"n_heads": 3}, model="GRU4Rec")
    # SASRec says hidden_size: embedding_size would be read by nobody
    assert "not of SASRec" in refusal({"embedding_size": 32}, model="SASRec")


@pytest.mark.parametrize(
    "key, value, expected",
    [
        ("epochs", "ten", "epochs='ten' (mine.yaml): expected int"),
        ("epochs", 1.5, "expected int"),
        ("epochs", True, "epochs=True (mine.yaml): expected int"),
        ("learning_rate", False, "expected float"),
        ("learning_rate", None, "expected float"),
        ("shuffle", 1, "expected bool (True or False)"),
        ("metrics", 3, "expected list or str"),
        ("eval_args", "full", "expected dict"),
        ("dilations", 4, "expected list"),
        ("item_block_cutoffs", 3, "expected str or list"),
        ("embedding_size", None, "expected int"),
        ("item_head", None, "expected str"),
        ("load_col", ["user_id"], "expected dict"),
        ("ITEM_ID_FIELD", None, "expected str"),
        ("metrics", None, "expected list or str"),
    ],
)
def test_a_wrong_type_names_key_value_and_type(key, value, expected):
    line = refusal({key: value})
    assert line.startswith(f"{key}={value!r} (mine.yaml): expected ") and expected in line


@pytest.mark.parametrize(
    "key, value",
    [
        ("learning_rate", 1),
        ("learning_rate", np.float32(0.1)),
        ("epochs", np.int64(3)),
        ("gpu_id", 0),
        ("gpu_id", "0,1"),
        ("train_neg_sample_args", None),
        ("TIME_FIELD", None),
        ("benchmark_filename", None),
        ("topk", 5),
        ("item_block_dims", None),
        ("item_block_cutoffs", [0.1, 0.5]),
        ("window_stride", None),
        ("train_time_limit", 30),
        ("local_rank", 0),
        ("wandb_project", "mine"),
    ],
)
def test_what_recbole_users_give_is_accepted(key, value):
    schema = load_schema("CpRecNextItNet", "ml-100k")
    assert check_keys({key: value}, schema, {}) == {key: value}


def test_a_wrong_choice_lists_the_right_ones():
    line = refusal({"item_head": "tide"})
    assert line.startswith("item_head='tide' (mine.yaml): did you mean 'tied'")
    assert "two_level" in line
    assert "expected" not in refusal({"training_targets": "first"})


def test_a_typo_inside_eval_args_is_no_default():
    assert "did you mean 'split'" in refusal({"eval_args": {"splt": {"LS": "valid_and_test"}}})
    assert "'dynamic'" in refusal({"train_neg_sample_args": {"dynamik": True}})


@pytest.mark.parametrize(
    "types, value, text, wanted",
    [
        (("str",), [5, 10], "[5,10]", "[5,10]"),
        (("str",), 7, "007", "007"),
        (("str", "int"), (500, 100), "500,100", "500,100"),
        (("str", "None"), None, "~", None),
        (("list", "int"), (5, 10), "5,10", [5, 10]),
        (("int", "tuple"), (0, 1), "0,1", (0, 1)),
        (("str", "list"), (1, 2), "1,2", [1, 2]),
        ((), (1, 2), "1,2", (1, 2)),
    ],
)
def test_a_text_becomes_what_its_key_wants(types, value, text, wanted):
    checked = check_keys({"key": value}, {"key": Declared(types=types)}, {}, {"key": text})
    assert checked == {"key": wanted} and type(checked["key"]) is type(wanted)


def test_type_comments_in_all_their_forms(tmp_path):
    path = tmp_path / "Model.yaml"
    path.write_text(
        "a: 1          # (int) One.\n"
        "b: ~          # (list of float or None) Two.\n"
        "c: '#'        # (string, optional) Three. Range in ['#', 'x'].\n"
        "d: 0.5        # Four, without a type.\n"
        "e:            # (dict) Five.\n"
        "  inner: 3    # (int) Not a key.\n"
        "f: x          # (file name of something) Six.\n"
    )
    declared = declared_in(path)
    assert {key: entry.types for key, entry in declared.items()} == {
        "a": ("int",),
        "b": ("list", "None"),
        "c": ("str", "None"),
        "d": ("float",),
        "e": ("dict",),
        "f": ("str",),
    }
    assert declared["c"].choices == ("#", "x") and declared["e"].default == {"inner": 3}


@pytest.mark.parametrize("topk", [[1.5], ["a"], [0], [True]])
def test_places_are_whole_numbers(topk):
    with pytest.raises(ConfigError, match=r"^topk=\[.*\]: expected whole numbers from 1 on"):
        check_metrics(["NDCG"], topk, "NDCG@10", ranking=True)


def test_early_stopping_needs_a_metric_that_is_computed():
    check_metrics(["Recall", "NDCG"], [5, 10], "ndcg@10", ranking=True)
    check_metrics(["GAUC", "NDCG"], [5], "GAUC", ranking=True)  # of all ranks, not of the top k
    check_metrics(["AUC"], [10], "AUC", ranking=False)
    with pytest.raises(ConfigError, match=r"valid_metric='MRR@10'.*choose one of NDCG@5"):
        check_metrics(["NDCG"], [5], "MRR@10", ranking=True)
    with pytest.raises(ConfigError, match="did you mean 'NDCG@5'"):
        check_metrics(["NDCG"], [5], "NDCG", ranking=True)


def test_a_transform_needs_its_share():
    check_transform({"transform": "inverse_itemseq"})
    check_transform({"transform": "reorder_itemseq", "beta": 1})
    for share in (None, "much"):
        with pytest.raises(ConfigError, match="^transform='mask_itemseq': needs mask_ratio; add"):
            check_transform({"transform": "mask_itemseq", "mask_ratio": share})
    with pytest.raises(ConfigError, match="eta=1.5: choose a number from 0 to 1"):
        check_transform({"transform": "crop_itemseq", "eta": 1.5})
    with pytest.raises(ConfigError, match="did you mean 'crop_itemseq'"):
        check_transform({"transform": "crop_items"})
