"""Settings of how data are read that would be read as something else than they say."""

from __future__ import annotations

import pytest

from recbole_compress.config.data_settings import check_data_settings
from recbole_compress.errors import ConfigError


@pytest.mark.parametrize(
    "key, value",
    [
        ("save_dataset", True),
        ("save_dataloaders", True),
        ("dataset_save_path", "a.pth"),
        ("dataloaders_save_path", "b.pth"),
    ],
)
def test_pickled_data_sets_are_refused(key, value):
    check_data_settings({key: None})
    check_data_settings({key: False})
    with pytest.raises(ConfigError, match=f"^{key}={value!r}: .*; leave it out$"):
        check_data_settings({key: value})


@pytest.mark.parametrize("interval", ["[400;inf)", 400, ">400", "400,500", "[1,2];3"])
def test_an_interval_that_recbole_cannot_read_is_refused(interval):
    check_data_settings({"val_interval": {"timestamp": "[1,2];(3,inf)", "user_id": ["u1", "u2"]}})
    with pytest.raises(ConfigError, match=r"^val_interval: timestamp=.*: expected \[5,inf\)"):
        check_data_settings({"val_interval": {"timestamp": interval}})


def test_names_of_two_things_at_once_are_refused():
    fields = {"USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "LIST_SUFFIX": "_list"}
    check_data_settings({**fields, "ITEM_LIST_LENGTH_FIELD": "item_length"})
    with pytest.raises(ConfigError, match="item_id': is ITEM_ID_FIELD already"):
        check_data_settings({**fields, "ITEM_LIST_LENGTH_FIELD": "item_id"})
    with pytest.raises(ConfigError, match="LIST_SUFFIX=''"):
        check_data_settings({"LIST_SUFFIX": ""})
