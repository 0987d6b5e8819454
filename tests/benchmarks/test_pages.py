"""The tables of the results pages are those of the JSON files."""

from __future__ import annotations

import pytest

from benchmarks.pages import TABLES, filled, pages


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_a_page_says_what_its_files_say(path):
    text = path.read_text()
    assert filled(text) == text, "run python -m benchmarks.pages"


def test_every_table_has_its_place():
    everything = "".join(path.read_text() for path in pages())
    assert [name for name in TABLES if f"<!-- table {name} -->" not in everything] == []
