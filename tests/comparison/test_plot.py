"""The plot: who is on the front, the same file every time, labels apart."""

from __future__ import annotations

import itertools
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_compress.comparison.pareto import pareto_front

SIZES = st.integers(1, 6)
VALUES = st.integers(1, 6)


@given(st.lists(st.tuples(SIZES, VALUES), min_size=1, max_size=12))
def test_front(points):
    front = pareto_front(*zip(*points, strict=True))
    for position, (size, value) in enumerate(points):
        beaten = any(s <= size and v >= value and (s, v) != (size, value) for s, v in points)
        earlier = points.index((size, value)) < position
        assert (position in front) == (not beaten and not earlier)
    assert [points[i][0] for i in front] == sorted(points[i][0] for i in front)


def entry(size, value, deviation=None, latency=1.0):
    return {
        "size_bytes": {"file": None, "total": size},
        "metrics": {"test": {"ndcg@10": {"mean": value, "std": deviation, "n": 2}}},
        "latency_in_turns_ms": None,
        "latency_ms": {"p50": latency},
    }


ENTRIES = {
    "untied": entry(28.3e6, 0.0164, 0.0004, 1.35),
    "tied": entry(14.4e6, 0.0173, 0.0003, 1.23),
    "cprec, head/tail breaks": entry(4.08e6, 0.0177, 0.0002, 0.99),
    "cprec, equal mass": entry(4.1e6, 0.0176, 0.0002, 0.95),
    "cprec, tied tables": entry(2.2e6, 0.0169, 0.0003, 0.9),
    "Pop": entry(218e3, 0.0035, None, None),
}
DOCUMENT = {
    "datasets": {
        "one": {"metric": "ndcg@10", "entries": ENTRIES},
        "two": {"metric": "ndcg@10", "entries": {"alone": entry(5, 0.0)}},
        "not yet": {"metric": None, "entries": {}},
    }
}


@pytest.mark.slow
def test_same_document_same_files(tmp_path):
    pytest.importorskip("matplotlib")
    from recbole_compress.comparison.plot import write_pareto

    first = [path.read_bytes() for path in write_pareto(DOCUMENT, tmp_path / "a")]
    again = [path.read_bytes() for path in write_pareto(DOCUMENT, tmp_path / "b")]
    assert len(first) == 2 and first == again
    assert b"<dc:date>" not in first[0]
    assert write_pareto({"datasets": {}}, tmp_path / "c") == []


def test_dollars_in_names_are_no_mathematics(tmp_path):
    pytest.importorskip("matplotlib")
    from recbole_compress.comparison.plot import write_pareto

    names = ("below $\\frac$", "$1", "$2 or $\\x$", "a_b")
    values = (0.01, 0.1, 0.11, 0.12)  # the first is named in a note
    entries = {name: entry(1e3, value) for name, value in zip(names, values, strict=True)}
    document = {"datasets": {"$\\frac$": {"metric": "ndcg@10", "entries": entries}}}
    assert len(write_pareto(document, tmp_path / "a")) == 2


def test_labels_do_not_overlap():
    pytest.importorskip("matplotlib")
    from recbole_compress.comparison.plot import draw_pareto

    figure = draw_pareto(DOCUMENT)
    first, second = (axis for axis in figure.axes if axis.get_visible())
    figure.draw_without_rendering()
    texts = {text.get_text(): text.get_window_extent() for text in first.texts}
    # The two that lie on each other have one label, the better one above.
    touching = {"cprec, head/tail breaks", "cprec, equal mass"}
    alone = {*ENTRIES} - {"Pop"} - touching | {"below: Pop (218 kB, 0.0035)"}
    assert set(texts) == alone | {"cprec, head/tail breaks\ncprec, equal mass"}
    for one, other in itertools.combinations(texts.values(), 2):
        assert not one.overlaps(other)
    assert [text.get_text() for text in second.texts] == ["alone"]


@pytest.mark.parametrize("low, is_shown", [(0.2697, True), (0.0313, False)])
def test_what_is_nearly_as_good_is_shown_however_close_the_others_are(low, is_shown):
    pytest.importorskip("matplotlib")
    from recbole_compress.comparison.plot import draw_pareto

    values = {"teacher": 0.2846, "small": 0.2859, "smaller": 0.2875, "low": low}
    entries = {name: entry(1e6 * (i + 1), value) for i, (name, value) in enumerate(values.items())}
    data = {"metric": "ndcg@10", "entries": entries}
    (panel,) = draw_pareto({"datasets": {"retailrocket": data}}).axes
    texts = [text.get_text() for text in panel.texts]
    assert ("low" in texts) == is_shown
    assert is_shown or any(text.startswith("below: low (") for text in texts)


def test_without_matplotlib_one_line_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    from recbole_compress.quick_start import compare

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "recbole_compress.comparison.plot", raising=False)
    compare._plot(DOCUMENT, tmp_path / "a")
    (line,) = capsys.readouterr().out.splitlines()
    assert "pip install" in line
    assert list(tmp_path.iterdir()) == []
