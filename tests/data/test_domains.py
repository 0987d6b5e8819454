"""Two domains of the same users: every row in its place, and nobody in one alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_compress.data.domains import (
    Columns,
    items_by_id,
    items_by_popularity,
    paired,
    split_by_items,
)
from recbole_compress.errors import ConfigError, DataError

COLUMNS = Columns("user", "item", "time")
ROWS = st.lists(
    st.tuples(
        st.sampled_from("abcdef"), st.sampled_from(["1", "2", "9", "10", "11"]), st.integers(0, 9)
    ),
    min_size=1,
)


def table(rows):
    return pd.DataFrame([(u, i, str(t)) for u, i, t in rows], columns=list(COLUMNS), dtype=object)


@given(ROWS, st.integers(1, 3), st.integers(1, 3))
def test_split_keeps_every_row_of_the_users_of_both(rows, least_source, least_target):
    source_items = np.array(["1", "10"])
    count = {}
    for user, item, _ in rows:
        its = count.setdefault(user, [0, 0])
        its[0 if item in source_items else 1] += 1
    users = {u for u, (s, t) in count.items() if s >= least_source and t >= least_target}
    arguments = (table(rows), COLUMNS, source_items, least_source, least_target)
    if not users:
        with pytest.raises(DataError, match="none of the"):
            split_by_items(*arguments)
        return
    made = split_by_items(*arguments)
    for part, inside in ((made.source, True), (made.target, False)):
        expected = [r for r in rows if r[0] in users and (r[1] in source_items) == inside]
        order = list(dict.fromkeys(user for user, *_ in expected))
        expected.sort(key=lambda row: (order.index(row[0]), row[2]))
        assert [(u, i, int(t)) for u, i, t in part.itertuples(index=False)] == expected
    first = {u: min(t for v, i, t in rows if v == u and i in source_items) for u in users}
    after = sum(u in users and i not in source_items and first[u] < t for u, i, t in rows)
    assert made.report["target interactions after a source one"] == after
    assert made.report["users"] == len(users)


def test_popular_items_and_first_items():
    rows = table([("a", i, 0) for i in ["9"] * 3 + ["10"] * 2 + ["2"] * 2 + ["1"]])
    assert items_by_popularity(rows, COLUMNS, 0.5).tolist() == ["9", "10"]
    assert items_by_id(rows, COLUMNS, 0.5).tolist() == ["1", "2"]  # as numbers
    words = table([("a", i, 0) for i in ["b", "a", "10"]])
    assert items_by_id(words, COLUMNS, 0.7).tolist() == ["10", "a"]
    for share in (0.0, 1.0, 0.1):
        with pytest.raises(ConfigError, match="leaves a domain empty"):
            items_by_id(rows, COLUMNS, share)


def test_two_tables_with_columns_of_other_names():
    theirs = pd.DataFrame({"session": list("xyz"), "product": list("pqr")}, dtype=object)
    ours = table([("y", "1", 0), ("w", "2", 0)])
    made = paired(theirs, ours, Columns("session", "product", None), COLUMNS)
    assert made.source["product"].tolist() == ["q"] and made.target["item"].tolist() == ["1"]
    assert made.report["source users left out"] == 2 and made.report["target users left out"] == 1
    assert "target interactions after a source one" not in made.report
