"""Texts become values by parsing alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_compress.config.values import parse_value

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
) | st.text()
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_what_python_prints_is_read_back(value):
    assert parse_value(repr(value)) == value
    assert type(parse_value(repr(value))) is type(value)


@given(st.text())
def test_any_text_is_read_without_an_error_and_to_plain_data(text):
    assert isinstance(parse_value(text), (str, int, float, bool, list, tuple, dict, type(None)))


@pytest.mark.parametrize(
    "text, value",
    [
        ("1e-3", 1e-3),
        ("[1e-3, 5E2, .5e1]", [1e-3, 5e2, 5.0]),
        ("~", None),
        ("null", None),
        ("None", None),
        ("true", True),
        ("False", False),
        ("off", False),
        ("-.inf", -math.inf),
        ("(1, 2)", (1, 2)),
        ("0,1", (0, 1)),
        ("['NDCG', 'Hit']", ["NDCG", "Hit"]),
        ("[NDCG, Hit]", ["NDCG", "Hit"]),
        ("{'LS': 'valid_and_test'}", {"LS": "valid_and_test"}),
        ("{LS: valid_and_test, deep: {a: ~}}", {"LS": "valid_and_test", "deep": {"a": None}}),
        ("'0'", "0"),
        ("none", "none"),  # a choice of layer_sharing
        ("", ""),
        ("saved/SASRec-Nov-20.pth", "saved/SASRec-Nov-20.pth"),
        ("2024-01-31", "2024-01-31"),  # no date
        ("12:30", "12:30"),  # no number to the base 60
        ("007", "007"),
        ("a: b", "a: b"),
        ("x # y", "x # y"),
        ("1+2j", "1+2j"),
        ("b'x'", "b'x'"),
        ("{1, 2}", {1: None, 2: None}),  # a mapping to YAML, as in RecBole's files
    ],
)
def test_texts_of_recbole_users(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch broken')",
        "1/0",
        "open('broken', 'w')",
        "().__class__.__bases__[0].__subclasses__()",
        "lambda: 0",
        "[x for x in (1,)]x",
        "{!!python/object/apply:os.system ['touch broken']: 1}",
        "[!!python/name:os.system ]",
        "[&a [*a]]",
        "[" * 500,
        "9" * 6000,
        "[20" + "0" * 5000 + "]",
        "'\\d",
        "\0",
    ],
)
def test_code_and_broken_texts_stay_texts(text, in_tmp):
    assert parse_value(text) == text
    assert not list(in_tmp.iterdir())


def test_names_in_a_list_are_names(in_tmp):
    assert parse_value("[exit(), print]") == ["exit()", "print"]
