"""``FILE [-o OUT] [--key=value ...]``, as the commands on files read it."""

from __future__ import annotations

import pytest

from recbole_compress.arguments import read_file_arguments
from recbole_compress.errors import ConfigError

USAGE = "recbole-compress export FILE -o OUT"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a.pth"], ("a.pth", None, {})),
        (["--k=3", "a.pth", "-o", "b"], ("a.pth", "b", {"k": "3"})),
        (["a.pth", "--output=b", "--table-bits=4"], ("a.pth", "b", {"table_bits": "4"})),
        (["-o=b", "a.pth", "--all-scores"], ("a.pth", "b", {"all_scores": "True"})),
    ],
)
def test_any_order_and_spelling(arguments, expected):
    assert read_file_arguments(arguments, USAGE, switches=("all_scores",)) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no file named; write recbole-compress export"),
        (["--k=3"], "no file named"),
        (["a", "b"], "b: one file at a time"),
        (["a", "-o"], "-o: names no file"),
        (["a", "-o", "b", "-o", "c"], "b was given already"),
        (["a", "--k"], "write --k=VALUE"),
        (["a", "--table-bits=4", "--table_bits=8"], "--table_bits is given twice, as '4' and '8'"),
        (["a", "--table_bit=4"], "did you mean 'table_bits'"),
    ],
)
def test_anything_else_is_one_line(arguments, message):
    with pytest.raises(ConfigError) as error:
        read_file_arguments(arguments, USAGE, known=("table_bits", "k"))
    assert message in str(error.value) and "\n" not in str(error.value)
