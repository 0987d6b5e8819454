"""``split-domains`` and ``pair-domains``: source and target data sets for a transfer."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from recbole_compress.arguments import read_command_line
from recbole_compress.data.atomic_files import open_text
from recbole_compress.data.domains import (
    Columns,
    Domains,
    items_by_id,
    items_by_popularity,
    paired,
    split_by_items,
)
from recbole_compress.errors import ConfigError, DataError
from recbole_compress.files import replacing
from recbole_compress.near_names import did_you_mean

__all__ = ["pair_domains", "split_domains"]

BY: dict[str, Callable] = {"popularity": items_by_popularity, "id": items_by_id}
NAMES = {"user": "user_id", "item": "item_id", "time": "timestamp"}
COMMON = ("output", "min_source", "min_target", "user", "item", "time")
WRITTEN = tuple(NAMES.values())  # what a pair's columns are called, whatever they were


def split_domains(arguments: Sequence[str]) -> None:
    """One ``.inter`` file into ``NAME-source`` and ``NAME-target``: its items in two halves.

    Raises:
        RecBoleCompressError: Anything the user can mend.
    """
    files, options = _given(arguments, 1, (*COMMON, "by", "share"))
    by = options.get("by", "popularity")
    if by not in BY:
        raise ConfigError(f"--by={by}: {did_you_mean(by, BY)}")
    table, header, columns = _read(files[0], options)
    share = _number(options, "share", 0.5)
    domains = split_by_items(table, columns, BY[by](table, columns, share), *_least(options))
    name = Path(files[0]).name.split(".")[0]
    headers = (header, header)
    _finish(domains, (f"{name}-source", f"{name}-target"), headers, (columns, columns), options)


def pair_domains(arguments: Sequence[str]) -> None:
    """Two ``.inter`` files cut to their common users; only looked at without ``--output``.

    Raises:
        RecBoleCompressError: Anything the user can mend, such as no common user.
    """
    files, options = _given(arguments, 2, COMMON)
    tables = [_read(file, options) for file in files]
    (source, _, its), (target, _, ours) = tables
    domains = paired(source, target, its, ours, *_least(options))
    names = [Path(file).name.split(".")[0] for file in files]
    if names[0] == names[1]:
        names = [f"{names[0]}-source", f"{names[0]}-target"]
    headers = [header for _, header, _ in tables]
    _finish(domains, names, headers, (its, ours), options, look_only="output" not in options)


def _given(
    arguments: Sequence[str], n_files: int, known: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    files = [argument for argument in arguments if not argument.startswith("-")]
    options = read_command_line([argument for argument in arguments if argument not in files])
    for key in options:
        if key not in known:
            raise ConfigError(f"--{key}: unknown option; {did_you_mean(key, known)}")
    if len(files) != n_files:
        wanted = "SOURCE.inter and TARGET.inter" if n_files == 2 else "one NAME.inter"
        raise ConfigError(f"{len(files)} files given: expected {wanted}")
    return files, options


def _number(options: Mapping[str, str], key: str, default: float) -> float:
    try:
        return float(options.get(key, default))
    except ValueError:
        raise ConfigError(f"--{key}={options[key]}: expected a number") from None


def _least(options: Mapping[str, str]) -> tuple[int, int]:
    least = []
    for key in ("min_source", "min_target"):
        number = _number(options, key, 1)
        if not (number >= 1 and number.is_integer()):  # infinity is no integer
            raise ConfigError(f"--{key}={options[key]}: expected a whole number, 1 or more")
        least.append(int(number))
    return least[0], least[1]


def _read(path: str, options: Mapping[str, str]) -> tuple[pd.DataFrame, dict[str, str], Columns]:
    """The rows as texts, the header as name -> type, and which columns matter."""
    if not os.path.isfile(path):
        raise DataError(f"{path}: there is no such file; name a .inter (or .inter.gz) file")
    try:
        with open_text(path) as file:
            # A quotation mark is a character as any other, here as in what is written: taken for
            # the beginning of a quoted cell, one of them would swallow every row up to the next.
            table = pd.read_csv(
                file, sep="\t", dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE
            )
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read as an atomic file: {error}") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas took the first cells for row names
        raise DataError(f"{path}: its rows have more cells than the header; name every column")
    header = dict(cell.partition(":")[::2] for cell in table.columns)
    if len(header) < len(table.columns):
        raise DataError(
            f"{path}: two columns of one name in {', '.join(table.columns)}; rename or remove one"
        )
    table.columns = pd.Index(list(header))
    found = {part: options.get(part, name) for part, name in NAMES.items()}
    for part in ("user", "item"):
        if found[part] not in header:
            raise DataError(
                f"{path}: no column {found[part]!r}; name it with --{part}=..., one of "
                f"{', '.join(header)}"
            )
    time = found["time"] if found["time"] in header else None
    if time is None and "time" in options:
        raise DataError(f"{path}: no column {found['time']!r}; it has {', '.join(header)}")
    columns = Columns(found["user"], found["item"], time)
    _refuse_one_name_twice(path, header, columns)
    if table.eq("").any(axis=None):
        _refuse_missing_cells(path, list(header), columns)
    return table, header, columns


def _refuse_missing_cells(path: str, header: Sequence[str], its: Columns) -> None:
    """No row without its user, item or time, and none that ends before the last column.

    pandas gives short rows and empty cells alike, and skips blank lines, so the file says where.
    """
    with open_text(path) as file:
        next(file)
        for number, line in enumerate(file, start=2):
            if not line.strip(" \n"):
                continue
            cells = line.rstrip("\n").split("\t")
            empty = [n for n, cell in zip(header, cells, strict=False) if n in its and not cell]
            if missing := [*empty, *header[len(cells) :]]:
                raise DataError(
                    f"{path}, line {number}: no value in column {missing[0]!r}; fill it in or "
                    "remove the line"
                )


def _refuse_one_name_twice(path: str, header: Mapping[str, str], its: Columns) -> None:
    """Columns get RecBole's usual names, which no other column may have already."""
    for part, name, new in zip(NAMES, its, WRITTEN, strict=True):
        if name is None:
            continue
        if its.count(name) > 1:
            raise ConfigError(
                f"--{part}={name}: {path} has users, items and times in columns of their own; "
                "name another column for each"
            )
        if new in header and new not in its:
            raise DataError(
                f"{path}: --{part}={name} is written as {new!r}, and there is another column of "
                f"that name; rename or remove the column {new!r}"
            )


def _finish(
    domains: Domains,
    names: Sequence[str],
    headers: Sequence[Mapping[str, str]],
    columns: Sequence[Columns],
    options: Mapping[str, str],
    look_only: bool = False,
) -> None:
    for name, number in domains.report.items():
        print(f"{name:40}{number:>12,}")
    if look_only:
        print("nothing written; add --output=FOLDER for a pair of data sets with these users")
        return
    folder = Path(options.get("output", "dataset"))
    texts = {
        folder / name / f"{name}.inter": _text(table, header, its)
        for name, table, header, its in zip(names, domains[:2], headers, columns, strict=True)
    }
    for path, text in texts.items():
        _check_free(path, text)
    for path, text in texts.items():
        _write(path, text)
        print(f"written: {path}")
    data = "" if folder == Path("dataset") else f" --data_path={folder}"
    print(
        f"now: recbole-compress --model=CpRecNextItNet --recipe=transfer "
        f"--source_dataset={names[0]} --dataset={names[1]}{data}"
    )


def _text(table: pd.DataFrame, header: Mapping[str, str], its: Columns) -> str:
    """The atomic file of ``table``, its three columns under RecBole's usual names."""
    called = {name: new for name, new in zip(its, WRITTEN, strict=True) if name is not None}
    lines = ["\t".join(f"{called.get(name, name)}:{kind}" for name, kind in header.items())]
    lines += ["\t".join(row) for row in table.itertuples(index=False, name=None)]
    return "\n".join(lines) + "\n"


def _check_free(path: Path, text: str) -> None:
    """Another split of the same name must not be lost; the same one may be made again."""
    try:
        taken = path.exists() and path.read_text(encoding="utf-8") != text
    except (OSError, ValueError):
        taken = True
    if taken:
        raise DataError(
            f"{path}: there is another file of this name; remove it or choose another --output"
        )


def _write(path: Path, text: str) -> None:
    try:
        with replacing(str(path)) as file:
            file.write(text)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error
