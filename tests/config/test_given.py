"""Command lines and config files: what is read, and what a fault is called."""

from __future__ import annotations

import pytest

from recbole_compress.arguments import read_command_line
from recbole_compress.config.given import read_config_file
from recbole_compress.errors import ConfigError


def test_a_value_may_hold_anything():
    arguments = ["--a=b=c", "--empty=", "--time-aware=True", "--list=[1, 2]"]
    expected = {"a": "b=c", "empty": "", "time-aware": "True", "list": "[1, 2]"}
    assert read_command_line(arguments) == expected


@pytest.mark.parametrize(
    "arguments, advice",
    [
        (["--epochs", "5"], "write --epochs=5"),
        (["-m", "SASRec"], "write --model=SASRec"),
        (["-d=ml-100k"], "write --dataset=ml-100k"),
        (["epochs=5"], "write --epochs=5"),
        (["-epochs=5"], "write --epochs=5"),
        (["—epochs=5"], "write --epochs=5"),
        (["---epochs=5"], "write --epochs=5"),
        (["--epochs"], "write --epochs=VALUE"),
        (["--epochs", "--seed=1"], "write --epochs=VALUE"),
        (["SASRec"], "--key=value"),
        (["--"], "--key=value"),
        (["--=5"], "--key=value"),
        (["--epochs=5", "--epochs=6"], "given twice, as '5' and '6'"),
    ],
)
def test_other_forms_are_told_what_to_write(arguments, advice):
    with pytest.raises(ConfigError) as error:
        read_command_line(arguments)
    assert advice in str(error.value)
    assert "\n" not in str(error.value)


def test_the_same_argument_twice_is_no_contradiction():
    assert read_command_line(["--epochs=5", "--epochs=5"]) == {"epochs": "5"}


@pytest.mark.parametrize(
    "content, fault",
    [
        ("a: [1", "not valid yaml, line"),
        ("a: !!python/object/apply:os.getcwd []", "not valid yaml"),
        ("- a\n- b\n", "expected lines of the form 'key: value'"),
        ("just words", "expected lines"),
        ("1: a", "expected lines"),
        ("config_files: b.yaml", "belongs on the command line"),
        (b"\xff\xfe\x00", "cannot be read"),
        ("a: 1\nb: 2\na: 3\n", "not valid yaml, line 3: 'a' is given twice; keep one of them"),
        ("runs:\n  gru: {epochs: 1}\n  'gru': {epochs: 2}\n", "line 3: 'gru' is given twice"),
    ],
)
def test_a_bad_config_file_is_one_clear_line(tmp_path, content, fault):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as error:
        read_config_file(path)
    assert fault in str(error.value)
    assert "mine.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_config_file_that_is_missing_or_a_folder(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_config_file(tmp_path / "mine.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config_file(tmp_path)


def test_config_files_are_read_as_recbole_reads_them(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("learning_rate: 1e-3\nseparator: \"\\t\"\nempty: ~\nname: 'ä'\n", "utf-8")
    expected = {"learning_rate": 1e-3, "separator": "\t", "empty": None, "name": "ä"}
    assert read_config_file(path) == expected
    path.write_text("a: &a {x: 1, y: 2}\nb: {c: &c {<<: *a, x: 3}}\nd: {<<: *c, y: 4}\n")
    merged = {"a": {"x": 1, "y": 2}, "b": {"c": {"x": 3, "y": 2}}, "d": {"x": 3, "y": 4}}
    assert read_config_file(path) == merged
    path.write_text("# nothing but a comment\n")
    assert read_config_file(path) == {}
