"""Settings of how a data set is read: what RecBole only warns about, or ignores."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from recbole_compress.errors import ConfigError

__all__ = ["FILTERS", "PICKLES", "check_data_settings"]

# RecBole would unpickle what lies there; this package reads the data set anew in every run.
PICKLES = ("save_dataset", "save_dataloaders", "dataset_save_path", "dataloaders_save_path")
_COUNTS = ("user_inter_num_interval", "item_inter_num_interval")
# What takes rows out of one file of interactions.
FILTERS = ("rm_dup_inter", "val_interval", *_COUNTS)
_INTERVAL = re.compile(r"\s*[\[(][^,\[\]()]+,[^,\[\]()]+[\])]\s*")
# Read from files; what RecBole makes of them, under another name.
_READ = ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD", "RATING_FIELD")


def check_data_settings(settings: Mapping[str, Any]) -> None:
    """Refuse what would be read as something else than it says.

    RecBole takes an interval of values that it cannot read for one that holds everything, and
    then drops the last row but one.

    Raises:
        ConfigError: One of these; names it.

    Example:
        >>> check_data_settings({"user_inter_num_interval": "[5,inf)"})
        >>> check_data_settings({"val_interval": {"time": ">4"}})
        Traceback (most recent call last):
            ...
        recbole_compress.errors.ConfigError: val_interval: time='>4': expected [5,inf) or such
    """
    for key in _COUNTS:
        if settings.get(key) is not None:
            _check_interval(key, settings[key])
    of_values = settings.get("val_interval")
    for field, interval in of_values.items() if isinstance(of_values, dict) else ():
        if not isinstance(interval, (list, tuple)):  # of a token field: the tokens to keep
            _check_interval(f"val_interval: {field}", interval)
    for key in PICKLES:
        if settings.get(key):
            raise ConfigError(
                f"{key}={settings[key]!r}: data sets are read from their files in every run, never "
                "saved or taken from a pickle; leave it out"
            )
    if settings.get("LIST_SUFFIX") == "":
        raise ConfigError("LIST_SUFFIX='': sequences need a name of their own, such as _list")
    read = {settings[key]: key for key in _READ if settings.get(key)}
    length = settings.get("ITEM_LIST_LENGTH_FIELD")
    if length in read:
        raise ConfigError(
            f"ITEM_LIST_LENGTH_FIELD={length!r}: is {read[length]} already; choose another name"
        )


def _check_interval(name: str, text: Any) -> None:
    if not all(_INTERVAL.fullmatch(part) for part in str(text).split(";")):
        raise ConfigError(f"{name}={text!r}: expected [5,inf) or such")
