"""The tables of the results pages are those of the JSON files."""

from __future__ import annotations

import json
import os

import pytest

from benchmarks.comparisons import RESULTS
from benchmarks.pages import TABLES, filled, pages


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_a_page_says_what_its_files_say(path):
    text = path.read_text()
    assert filled(text) == text, "run python -m benchmarks.pages"


def test_every_table_has_its_place():
    everything = "".join(path.read_text() for path in pages())
    missing = [name for name in TABLES if f"<!-- table {name} -->" not in everything]
    assert [name for name in missing if measured(name)] == []


def measured(name):
    try:
        return bool(TABLES[name]())
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/comparison.json")), ids=str)
def test_results_tell_no_paths_of_the_machine_that_made_them(path):
    for run in json.loads(path.read_text())["runs"]:
        for file in filter(None, run["card"]["files"].values()):
            assert not os.path.isabs(file) and not file.startswith(os.pardir), run["entry"]


def test_a_table_that_has_not_been_measured_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.pages.RESULTS", tmp_path)
    page = "<!-- table growth_gpu -->\n<!-- end -->\n"
    assert filled(page) == page
