"""Reading RecBole's atomic files: plain or gzip-compressed, in seconds."""

from __future__ import annotations

import gzip
import os
from collections import defaultdict

import numpy as np
import pandas as pd
import torch
from recbole.utils import FeatureSource, FeatureType

from recbole_compress.data.evaluation import check_evaluation, eval_batch_size
from recbole_compress.data.merged_times import users_in_file_order
from recbole_compress.distributed.group import any_of_all
from recbole_compress.distributed.place import here
from recbole_compress.errors import DataError

__all__ = ["AtomicFiles", "existing_file", "open_text"]


def existing_file(path: str) -> str | None:
    """``path``, or ``path + ".gz"``, whichever exists; the plain file wins."""
    for candidate in (path, path + ".gz"):
        if os.path.isfile(candidate):
            return candidate
    return None


def open_text(path: str, encoding: str | None = "utf-8"):
    """Open a plain or gzip-compressed text file for reading, with or without a byte order mark."""
    if encoding is None or encoding.lower() in ("utf-8", "utf8"):  # None: as pandas takes it
        encoding = "utf-8-sig"
    if path.endswith(".gz"):
        return gzip.open(path, "rt", encoding=encoding)
    return open(path, encoding=encoding)


# What stands for no number. In a column of tokens these are tokens like any other.
_NO_NUMBER = [
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
]


class AtomicFiles:
    """Mixin for RecBole datasets: file access only, the same features come out.

    RecBole reads plain files with pandas' slow Python engine. This reads ``NAME.inter.gz`` as well,
    with the C engine, bounds the evaluation's score matrix, and says in one line what is
    missing. Put it before the dataset class: ``class D(AtomicFiles, SequentialDataset)``.
    """

    def _load_data(self, token, dataset_path):
        if (
            not os.path.isdir(dataset_path)
            and self._get_download_url("url", allow_none=True) is None
        ):
            raise DataError(
                f"dataset={token}: no folder {dataset_path!r}; put {token}.inter (or "
                f"{token}.inter.gz) there, or name the folder above it with --data_path=..."
            )
        there = os.path.exists(dataset_path)
        if any_of_all(not there) and not here().is_alone:
            # RecBole's download ends in a barrier: either all processes take part or none.
            torch.distributed.barrier() if there else self._download()
        super()._load_data(token, dataset_path)

    def _download(self):
        try:
            super()._download()
        except ValueError as error:
            # RecBole ends every download with a barrier, process group or not; by then the
            # files are in place.
            if "process group" not in str(error):
                raise DataError(f"dataset={self.dataset_name}: download failed: {error}") from error
        except OSError as error:
            raise DataError(f"dataset={self.dataset_name}: download failed: {error}") from error

    def _load_inter_feat(self, token, dataset_path):
        if self.benchmark_filename_list is None:
            self.inter_feat = self._load_interactions(token, dataset_path, f"{token}.inter")
            return
        parts = []
        longest: dict[str, int] = defaultdict(int)
        for name in self.benchmark_filename_list:
            file = f"{token}.{name}.inter"
            parts.append(self._load_interactions(token, dataset_path, file))
            for field in (self.uid_field, self.iid_field):  # RecBole would take them for padding
                missing = int(parts[-1][field].isnull().sum()) if field is not None else 0
                if missing:
                    raise DataError(
                        f"dataset={token}: {missing} rows of {file} have no {field}; fill them in "
                        "or take the rows out"
                    )
            for field, length in self.field2seqlen.items():
                longest[field] = max(longest[field], length)
        self.inter_feat = pd.concat(parts, ignore_index=True)
        self.file_size_list = [len(part) for part in parts]
        self.field2seqlen = longest

    def _load_interactions(self, token, folder, name):
        path = existing_file(os.path.join(folder, name))
        if path is None:
            raise DataError(
                f"dataset={token}: neither {name} nor {name}.gz is in {folder!r}; put one there"
            )
        table = self._load_feat(path, FeatureSource.INTERACTION)
        columns = () if table is None else table.columns
        for key, field in (("USER_ID_FIELD", self.uid_field), ("ITEM_ID_FIELD", self.iid_field)):
            if field is not None and field not in columns:
                raise DataError(self._no_column(token, path, key, field))
        if table is None or not len(table):
            raise DataError(f"dataset={token}: {path} holds no interactions")
        return table

    def _no_column(self, token, path, key, field):
        header = _read_header(path, self.config["field_separator"], self.config["encoding"])
        there = [name for name, _ in header]
        mend = f"add {field} to load_col" if field in there else f"name the right one with --{key}="
        if field not in there:
            mend += " and in load_col"
        return (
            f"dataset={token}: no column {field!r} ({key}) was loaded; "
            f"{os.path.basename(path)} has {', '.join(there)}; {mend}"
        )

    def _load_user_or_item_feat(self, token, dataset_path, source, field_name):
        plain = os.path.join(dataset_path, f"{token}.{source.value}")
        if os.path.isfile(plain) or not os.path.isfile(plain + ".gz"):
            return super()._load_user_or_item_feat(token, dataset_path, source, field_name)
        field = getattr(self, field_name, None)
        table = self._load_feat(plain + ".gz", source)
        if table is not None:
            if field not in table:
                raise DataError(f"{plain}.gz: the column {field!r} must be there and in load_col")
            table = table.drop_duplicates(subset=[field], keep="first")
        if field in self.field2source:
            self.field2source[field] = FeatureSource(source.value + "_id")
        return table

    def _load_feat(self, filepath, source):
        wanted, unwanted = self._get_load_and_unload_col(source)
        if wanted == set():
            return None
        separator, encoding = self.config["field_separator"], self.config["encoding"]
        columns = {}
        for position, (field, ftype) in enumerate(_read_header(filepath, separator, encoding)):
            if (wanted is not None and field not in wanted) or field in (unwanted or ()):
                continue
            if isinstance(source, FeatureSource) or source != "link":
                self.field2source[field] = source
                self.field2type[field] = ftype
                if not ftype.value.endswith("seq"):
                    self.field2seqlen[field] = 1
                if "float" in ftype.value:
                    self.field2bucketnum[field] = 2
            columns[position] = field
        if not columns:
            self.logger.warning(f"{filepath}: none of the wanted columns is there, nothing loaded")
            return None
        try:
            table = pd.read_csv(
                filepath,
                delimiter=separator,
                header=None,
                skiprows=1,
                names=list(columns.values()),
                usecols=list(columns),
                dtype={
                    field: np.float64 if self.field2type[field] == FeatureType.FLOAT else str
                    for field in columns.values()
                },
                encoding=encoding,
                keep_default_na=False,
                na_values={
                    field: _NO_NUMBER if self.field2type[field] == FeatureType.FLOAT else [""]
                    for field in columns.values()
                },
                float_precision="round_trip",  # what the Python engine gives
            )
        except (ValueError, OSError, EOFError) as error:
            raise DataError(f"{filepath}: cannot be read as an atomic file: {error}") from error
        _refuse_swallowed(filepath, encoding, len(table))
        for field in columns.values():
            if self.field2type[field].value.endswith("seq"):
                table[field] = self._split_sequences(table[field], field)
        return table

    def _split_sequences(self, column, field):
        """Turn ``"a b c"`` cells into arrays."""
        arrays = [np.array(cell) for cell in self._cells(column, field)]
        self.field2seqlen[field] = max(map(len, arrays), default=0)
        return pd.Series(arrays, dtype=object)

    def _cells(self, column, field):
        """The values of one ``"a b c"`` cell after the other, cut to ``seq_len`` as RecBole does.

        One list at a time: keeping millions of them is what a garbage collector is slow at.
        """
        separator = self.config["seq_separator"]
        is_token = self.field2type[field] == FeatureType.TOKEN_SEQ
        # RecBole would pad every history to the longest of the file
        newest = self.config["MAX_ITEM_LIST_LENGTH"] if self._is_history(field) else 0
        limit = (self.config["seq_len"] or {}).get(field)
        for cell in column.fillna(""):
            values = cell.split(separator)
            if "" in values:  # seldom, and building every list anew takes as long as splitting
                values = [x for x in values if x]
            if not is_token:
                values = [float(x) for x in values]
            yield values[-newest:][:limit]  # -0: all of them

    def _is_history(self, field):
        """Whether a field of split files holds ready-made histories, of items or what they have."""
        return (
            self.benchmark_filename_list is not None
            and self.field2source.get(field) == FeatureSource.INTERACTION
            and field.endswith(self.config["LIST_SUFFIX"])
            and self.field2type[field].value.endswith("seq")
        )

    def _filter_nan_user_or_item(self):
        """Take out rows without a user or an item.

        RecBole's own takes the labels of rows for their positions: once some rows are gone, others
        go in place of those without an item.
        """
        for field, features in ((self.uid_field, "user_feat"), (self.iid_field, "item_feat")):
            for name in (features, "inter_feat"):
                table = getattr(self, name)
                if field is None or table is None:
                    continue
                missing = table.index[table[field].isnull()]
                if not len(missing):
                    continue
                self.logger.warning(
                    f"dataset={self.dataset_name}: {len(missing)} rows of {name} have no {field} "
                    "and are left out"
                )
                table.drop(missing, inplace=True)

    def _change_feat_format(self):
        self._warn_of_merged_times()
        super()._change_feat_format()
        self._pad_histories()

    def _pad_histories(self):
        """To the length that models are made for: RecBole stops at the longest of the files."""
        length = self.config["MAX_ITEM_LIST_LENGTH"]
        for field in filter(self._is_history, self.inter_feat.columns):
            there = self.inter_feat[field]
            missing = length - there.shape[1]
            if missing > 0:
                nothing = there.new_zeros(len(there), missing, *there.shape[2:])
                self.inter_feat[field] = torch.cat([there, nothing], 1)
            self.field2seqlen[field] = length

    def data_augmentation(self):
        self._need_times()
        super().data_augmentation()

    def _need_times(self):
        """Refuse interactions that no sequences can be made of."""
        if self.time_field is not None and self.time_field in self.inter_feat:
            return
        if self.time_field in (self.config["threshold"] or {}):
            raise DataError(
                f"dataset={self.dataset_name}: threshold={self.config['threshold']} makes labels "
                f"of {self.time_field!r} (TIME_FIELD) in its place, and a sequential model needs "
                "the order of a user's items; choose another column"
            )
        raise DataError(
            f"dataset={self.dataset_name}: no column {self.time_field!r} (TIME_FIELD) was "
            "loaded; a sequential model needs the order of a user's items: name the time "
            "column with --TIME_FIELD=... and add it to load_col"
        )

    def _warn_of_merged_times(self):
        """Say whose order in time RecBole does not know; it stays, as published results have it."""
        rows, field = self.inter_feat, self.time_field
        if self.benchmark_filename_list is not None or field not in rows:
            return
        if rows[field].dtype == np.float64:
            users = rows[self.uid_field].to_numpy()
            n = users_in_file_order(users, rows[field].to_numpy())
            if n:
                self.logger.warning(
                    f"dataset={self.dataset_name}: {n} of {len(np.unique(users))} users have items "
                    f"too close in {field} for RecBole's 32-bit floats, which stay in the order of "
                    "the file; sort the file by time to have them in theirs"
                )

    def build(self):
        splits = super().build()
        evaluated = dict(zip(("valid", "test"), splits[1:], strict=True))
        check_evaluation(self.config, evaluated, self.logger)
        self.config["eval_batch_size"] = eval_batch_size(self.config, self.item_num)
        return splits


def _refuse_swallowed(filepath, encoding, n_rows):
    """Refuse a file of which a quotation mark at the start of a cell made several rows one."""
    n_lines, is_quoted = -1, False
    with open_text(filepath, encoding) as file:
        for line in file:
            n_lines += line != "\n"
            is_quoted = is_quoted or '"' in line
    if is_quoted and n_rows < n_lines:
        raise DataError(
            f"{filepath}: of {n_lines:,} rows {n_rows:,} can be told apart: a cell that begins "
            "with a quotation mark goes on to the next one; take those marks out of the file"
        )


def _read_header(filepath, separator, encoding):
    """Field names and types of an atomic file's first line."""
    try:
        with open_text(filepath, encoding) as file:
            head = file.readline().rstrip("\r\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{filepath}: cannot be read: {error}") from error
    fields = []
    for cell in head.split(separator):
        field, colon, kind = cell.partition(":")
        try:
            fields.append((field, FeatureType(kind)))
        except ValueError:
            known = ", ".join(t.value for t in FeatureType)
            raise DataError(
                f"{filepath}: the header names {cell!r}; an atomic file's columns are "
                f"name:type with a type of {known}"
            ) from None
    return fields
