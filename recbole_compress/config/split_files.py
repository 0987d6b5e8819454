"""Which interaction files a data set has, and the settings that follow from it.

A data set is either one ``NAME.inter`` (one row per interaction, split by RecBole) or comes with a
published split: ``NAME.train.inter``, ``NAME.valid.inter`` and ``NAME.test.inter``, one row per
prediction, with the items so far in ``item_id_list``. Each file may be gzip-compressed.
"""

from __future__ import annotations

import os
from typing import Any

from recbole_compress.data.atomic_files import existing_file, open_text
from recbole_compress.errors import ConfigError
from recbole_compress.near_names import did_you_mean

__all__ = ["settle_interaction_files"]

PARTS = ["train", "valid", "test"]
MODES = ("auto", "always", "never")
# The same data set is in circulation under either name for whose sequence it is.
USER_FIELDS = ("user_id", "session_id")


def settle_interaction_files(config: Any, dataset: str) -> None:
    """Fill in which files and columns to load, unless the user said so himself.

    Sets ``benchmark_filename``, ``alias_of_item_id``, ``load_col`` and ``USER_ID_FIELD`` in
    ``config.internal_config_dict``; what is in ``config.external_config_dict`` is the user's and
    wins anyway. Key ``split_files``: ``auto`` takes the split files if all three are there,
    ``always`` insists on them, ``never`` takes ``NAME.inter``.

    Raises:
        ConfigError: A column of the split files is missing, or with ``split_files: always`` a file.
    """
    given, internal = config.external_config_dict, config.internal_config_dict
    settings = {**internal, **given}
    folder = os.path.join(settings["data_path"], dataset)
    item_list = settings["ITEM_ID_FIELD"] + settings["LIST_SUFFIX"]

    split = _wants_split(given, settings["split_files"], folder, dataset, item_list)
    parts = (given.get("benchmark_filename") or PARTS) if split else []
    if split and len(parts) != len(PARTS):
        raise ConfigError(
            f"benchmark_filename={parts}: expected three names, such as {PARTS}, of the files "
            f"{dataset}.NAME.inter to train, validate and test on"
        )
    if not settings["field_separator"]:
        raise ConfigError("field_separator='': expected a character, such as a tab")
    file = f"{dataset}.{parts[0]}.inter" if split else f"{dataset}.inter"
    header = _field_names(os.path.join(folder, file), settings["field_separator"])

    if split and header and item_list not in header:
        raise ConfigError(
            f"dataset={dataset}: {file} has no column {item_list!r}; in split files a row is a "
            f"prediction, with the items so far in {item_list}:token_seq. Add it, or put all "
            f"interactions into {dataset}.inter and take split_files=never"
        )
    user = settings["USER_ID_FIELD"]
    if "USER_ID_FIELD" not in given and header and user not in header:
        user = next((field for field in USER_FIELDS if field in header), user)
        internal["USER_ID_FIELD"] = user
    if split and item_list in (settings["seq_len"] or {}):
        raise ConfigError(
            f"seq_len={settings['seq_len']}: keeps the oldest items of {item_list}; give "
            "MAX_ITEM_LIST_LENGTH, which keeps the newest"
        )
    tables = internal["load_col"] or {}
    if split:
        internal["benchmark_filename"] = list(parts)
        internal["alias_of_item_id"] = [item_list]
        internal["load_col"] = {**tables, "inter": [user, item_list, settings["ITEM_ID_FIELD"]]}
    elif given.get("unload_col"):  # RecBole takes one of the two
        internal["load_col"] = None
    elif set(tables) == {"inter"}:  # models with further tables have their own list
        columns = [user, settings["ITEM_ID_FIELD"]]
        time = settings["TIME_FIELD"]
        if time is not None and (not header or time in header):
            columns.append(time)
        internal["load_col"] = {"inter": columns}


def _wants_split(given: dict, mode: str, folder: str, dataset: str, item_list: str) -> bool:
    if mode not in MODES:
        raise ConfigError(f"split_files={mode!r}: {did_you_mean(str(mode), MODES)}")
    if "benchmark_filename" in given:
        return bool(given["benchmark_filename"])
    if mode == "never":
        return False
    names = [f"{dataset}.{part}.inter" for part in PARTS]
    missing = [name for name in names if existing_file(os.path.join(folder, name)) is None]
    columns = (given.get("load_col") or {}).get("inter")
    has_column = columns is None or item_list in columns
    if mode == "auto":
        return not missing and has_column
    if missing:
        raise ConfigError(
            f"split_files=always: {', '.join(missing)} (or .gz) not in {folder!r}; "
            "put it there, or take split_files=auto"
        )
    if not has_column:
        raise ConfigError(
            f"split_files=always: load_col has no {item_list!r}, which split files need; "
            "add it, or leave load_col out"
        )
    return True


def _field_names(path: str, separator: str) -> list[str]:
    """Column names in a file's header; empty where none can be read, which loading reports."""
    found = existing_file(path)
    if found is None:
        return []
    try:
        with open_text(found) as file:
            head = file.readline().rstrip("\r\n")
    except (OSError, EOFError, UnicodeDecodeError):
        return []
    return [cell.partition(":")[0] for cell in head.split(separator)]
