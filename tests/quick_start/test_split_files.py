"""Split files whose histories are all shorter than ``MAX_ITEM_LIST_LENGTH``."""

from __future__ import annotations

import pytest

from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.quick_start import run_recbole_compress
from tests.conftest import SEQUENCES

SETTINGS = {
    "benchmark_filename": ["train", "valid", "test"],
    "alias_of_item_id": ["item_id_list"],
    "load_col": {"inter": ["user_id", "item_id_list", "item_id"]},
    "MAX_ITEM_LIST_LENGTH": 20,
    "train_neg_sample_args": None,
    "embedding_size": 8,
    "epochs": 1,
    "stopping_step": 0,
    "show_progress": False,
    "threads": 1,
}


@pytest.fixture
def settings(in_tmp):
    """The last item of a sequence is tested, the one before it is validated."""
    (in_tmp / "data" / "split").mkdir(parents=True)
    sequences = [items for items in SEQUENCES if len(items) > 4]
    for name, held_out in (("train", 3), ("valid", 2), ("test", 1)):
        rows = ["user_id:token\titem_id_list:token_seq\titem_id:token"]
        for user, items in enumerate(sequences):
            rows.append(f"{user}\t{' '.join(items[:-held_out])}\t{items[-held_out]}")
        (in_tmp / "data" / "split" / f"split.{name}.inter").write_text("\n".join(rows) + "\n")
    return {**SETTINGS, "data_path": str(in_tmp / "data")}


@pytest.mark.parametrize("model", ["Caser", "SINE", "FOSSIL"])
def test_recboles_models_train(settings, model):
    """Made for twenty items, they are given twenty."""
    made = run_recbole_compress(model, "split", config_dict=settings)
    assert made["test_result"]["hit@10"] >= 0
    assert main(["evaluate", made["checkpoint"]]) == 0


@pytest.mark.parametrize("model", ["NextItNet", "CORE"])
def test_recboles_models_teach_as_they_were_trained(settings, model):
    made = run_recbole_compress(model, "split", config_dict=settings)
    student = {
        **{"recipe": "distillation", "teacher_path": made["checkpoint"]},
        **{"kd_contrastive_weight": 0, "kd_predictive_weight": 0, "hidden_size": 8},
    }
    taught = run_recbole_compress("CpRecGRU4Rec", "split", config_dict={**settings, **student})
    assert taught["test_result"]["hit@10"] >= 0


def test_what_split_files_are_not_filtered_or_divided_by(settings, capsys):
    del settings["load_col"], settings["alias_of_item_id"], settings["benchmark_filename"]
    unread = {"user_inter_num_interval": "[5,inf)", "eval_args": {"split": {"RS": [8, 1, 1]}}}
    run_recbole_compress("CpRecGRU4Rec", "split", config_dict={**settings, **unread})
    said = capsys.readouterr().err
    assert "user_inter_num_interval=[5,inf) is not read: dataset=split comes in split" in said
    assert "eval_args split={'RS': [8, 1, 1]} is not read" in said
    assert "eval_args mode" not in said and "eval_args order" not in said
