"""One hash says which rows a split holds, whatever they are read by."""

from __future__ import annotations

import pytest

from recbole_compress.config import Config
from recbole_compress.data.split_rows import rows_fingerprint
from recbole_compress.quick_start.host_models import dataset_class
from tests.conftest import SEQUENCES, write_interactions


@pytest.fixture
def fingerprint(tmp_path):
    again = ["u0\ti0\t50"]  # a user and an item that have met before
    path = write_interactions(tmp_path, "tiny", SEQUENCES[:40], extra_rows=again)
    columns = {"inter": ["user_id", "item_id", "timestamp"]}
    usual = {"data_path": path, "load_col": columns, "MAX_ITEM_LIST_LENGTH": 6}

    def of(model="TTSASRec", **more):
        config = Config(model, "tiny", config_dict={**usual, **more})
        return rows_fingerprint(dataset_class(config)(config).build()[0])

    return of


@pytest.mark.parametrize(
    "form",
    [
        {"training_targets": "last"},
        {"MAX_ITEM_LIST_LENGTH": 3},
        {"model": "CpRecGRU4Rec"},
        {"model": "SASRec"},
        {"model": "SASRec", "MAX_ITEM_LIST_LENGTH": 3},
        {"seed": 7},
    ],
    ids=str,
)
def test_the_form_of_the_examples_does_not_matter(fingerprint, form):
    assert fingerprint(**form) == fingerprint()


@pytest.mark.parametrize(
    "rows",
    [
        {"val_interval": {"timestamp": "[0,7]"}},
        {"rm_dup_inter": "first"},
        {"user_inter_num_interval": "[6,inf)"},
        {"eval_args": {"split": {"LS": "test_only"}}},
    ],
    ids=str,
)
def test_other_rows_are_told_apart(fingerprint, rows):
    assert fingerprint(**rows) != fingerprint()
