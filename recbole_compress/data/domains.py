"""Two domains of the same users, from one table of interactions or from any two."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from recbole_compress.errors import ConfigError, DataError

__all__ = ["Columns", "Domains", "items_by_id", "items_by_popularity", "paired", "split_by_items"]


class Columns(NamedTuple):
    """What the columns that matter are called; ``time`` is None where there is none."""

    user: str
    item: str
    time: str | None


class Domains(NamedTuple):
    """Interactions of the same users in two domains, and how they came to be."""

    source: pd.DataFrame
    target: pd.DataFrame
    report: dict[str, int]


def items_by_popularity(interactions: pd.DataFrame, columns: Columns, share: float) -> np.ndarray:
    """The most frequent items, ``share`` of all; equal counts in the order of the tokens."""
    counts = interactions[columns.item].value_counts()
    order = np.lexsort((counts.index.to_numpy().astype(str), -counts.to_numpy()))
    return _first(counts.index.to_numpy()[order], share)


def items_by_id(interactions: pd.DataFrame, columns: Columns, share: float) -> np.ndarray:
    """The first items in the order of their tokens, as numbers if all are numbers."""
    tokens = interactions[columns.item].unique().astype(str)
    numeric = all(token.isdecimal() for token in tokens)
    return _first(np.array(sorted(tokens, key=int if numeric else str), dtype=object), share)


def _first(items: np.ndarray, share: float) -> np.ndarray:
    cut = round(share * len(items)) if 0 < share < 1 else 0  # NaN cannot be rounded
    if not 0 < cut < len(items):
        raise ConfigError(
            f"share={share}: of {len(items)} items that leaves a domain empty; choose a number "
            "between 0 and 1, such as 0.5"
        )
    return items[:cut]


def split_by_items(
    interactions: pd.DataFrame,
    columns: Columns,
    source_items: np.ndarray,
    min_source: int = 1,
    min_target: int = 1,
) -> Domains:
    """The interactions with ``source_items`` as one domain, all others as the other.

    Every row and every column is kept, but for the rows of users that are not in both domains;
    where there are times, every user's rows stand together and in their order.

    Args:
        interactions: One row per interaction, tokens as texts.
        columns: Their names.
        source_items: Tokens.
        min_source: Interactions that a user needs in the source at least.
        min_target: And in the target.

    Raises:
        DataError: No user is in both.

    Example:
        >>> rows = pd.DataFrame({"u": list("aabbc"), "i": list("xyxyx")})
        >>> domains = split_by_items(rows, Columns("u", "i", None), np.array(["x"]))
        >>> domains.source["u"].tolist(), domains.target["u"].tolist(), domains.report["users"]
        (['a', 'b'], ['a', 'b'], 2)
    """
    inside = interactions[columns.item].isin(source_items)
    return paired(
        interactions[inside], interactions[~inside], columns, columns, min_source, min_target
    )


def paired(
    source: pd.DataFrame,
    target: pd.DataFrame,
    source_columns: Columns,
    target_columns: Columns,
    min_source: int = 1,
    min_target: int = 1,
) -> Domains:
    """The rows of both tables whose users are in both, in order, and what that leaves.

    Args:
        source: One row per interaction, tokens as texts.
        target: The same of the other domain.
        source_columns: Names of the source's columns.
        target_columns: Names of the target's.
        min_source: Interactions that a user needs in the source at least.
        min_target: And in the target.

    Raises:
        DataError: No user is in both, or times are no numbers.
    """
    ours = target[target_columns.user].value_counts()
    theirs = source[source_columns.user].value_counts()
    users = ours.index[ours >= min_target].intersection(theirs.index[theirs >= min_source])
    if len(users) == 0:
        example = [str(counts.index[0]) if len(counts) else "none" for counts in (theirs, ours)]
        raise DataError(
            f"none of the {len(theirs)} users of the source and {len(ours)} of the target has "
            f"{min_source} interactions there and {min_target} here (source: {example[0]!r}, ..., "
            f"target: {example[1]!r}, ...); take files of the same users"
        )
    source = _in_order(source[source[source_columns.user].isin(users)], source_columns, "source")
    target = _in_order(target[target[target_columns.user].isin(users)], target_columns, "target")
    report = {
        "users": len(users),
        "source users left out": len(theirs) - len(users),
        "target users left out": len(ours) - len(users),
        "source items": source[source_columns.item].nunique(),
        "target items": target[target_columns.item].nunique(),
        "source interactions": len(source),
        "target interactions": len(target),
    }
    if source_columns.time is not None and target_columns.time is not None:
        report["target interactions after a source one"] = _after_a_source_one(
            source, target, source_columns, target_columns
        )
    return Domains(source, target, report)


def _in_order(table: pd.DataFrame, columns: Columns, domain: str) -> pd.DataFrame:
    """User by user, and each user's rows by time: RecBole reads 32 bits of that, and leaves what it
    then takes for equal in the order of the file.
    """
    if columns.time is None:
        return table
    users, _ = pd.factorize(table[columns.user])
    return table.iloc[np.lexsort((_numbers(table[columns.time], domain), users))]


def _after_a_source_one(
    source: pd.DataFrame, target: pd.DataFrame, source_columns: Columns, target_columns: Columns
) -> int:
    times = _numbers(source[source_columns.time], "source")
    first = times.groupby(source[source_columns.user]).min()
    moments = _numbers(target[target_columns.time], "target")
    return int((target[target_columns.user].map(first) < moments).sum())


def _numbers(times: pd.Series, domain: str) -> pd.Series:
    try:
        return pd.to_numeric(times)
    except ValueError:
        wrong = times[pd.to_numeric(times, errors="coerce").isna() & (times != "")].iloc[0]
        raise DataError(
            f"{times.name}={wrong!r} in the {domain}: times are compared as numbers; write them "
            "as numbers, such as seconds since 1970, in a column of type float"
        ) from None
