"""Reading one value from text, as the command line gives it. Nothing is ever evaluated."""

from __future__ import annotations

import ast
import math
import re
import warnings
from typing import Any

import yaml

__all__ = ["PlainLoader", "parse_value"]

_MERGE = "tag:yaml.org,2002:merge"


class PlainLoader(yaml.SafeLoader):
    """YAML as in RecBole's config files: plain data only, and ``1e-3`` is a number.

    A key given twice is an error: YAML would take the second value and say nothing of the first.
    """

    def compose_mapping_node(self, anchor):
        # Here rather than where mappings are made: keys that ``<<`` merges may be overridden.
        node = super().compose_mapping_node(anchor)
        first: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if (key.tag, key.value) in first:
                problem = f"{key.value!r} is given twice; keep one of them"
                raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
            first.add((key.tag, key.value))
        return node


# YAML 1.1 wants a dot and a signed exponent (1.0e-3); everybody writes 1e-3.
PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)

# What YAML files call these values, besides Python's own None, True and False. Not here: "none",
# which is the name of a choice on several axes.
_WORDS: dict[str, Any] = {
    "~": None,
    "null": None,
    "true": True,
    "yes": True,
    "on": True,
    "false": False,
    "no": False,
    "off": False,
    ".inf": math.inf,
    "+.inf": math.inf,
    "-.inf": -math.inf,
    ".nan": math.nan,
}
_NOT_A_VALUE = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, yaml.YAMLError)


def parse_value(text: str) -> Any:
    """The value that a command-line text stands for; a text that is no value stays itself.

    A Python literal (``1e-3``, ``None``, ``['NDCG', 'Hit']``, ``(1, 2)``) is taken as such, then
    the words of YAML (``~``, ``true``, ``off``), then lists and mappings in YAML's flow form
    (``[NDCG, Hit]``, ``{LS: valid_and_test}``). RecBole calls ``eval`` here; this never does.

    Args:
        text: What stands after ``--key=``.

    Returns:
        None, a bool, int, float or str, or lists, tuples and dicts of them.

    Example:
        >>> [parse_value(t) for t in ("1e-3", "~", "[NDCG, Hit]", "{'LS': 'valid_and_test'}")]
        [0.001, None, ['NDCG', 'Hit'], {'LS': 'valid_and_test'}]
        >>> [parse_value(t) for t in ("none", "1/0", "__import__('os').getcwd()", "")]
        ['none', '1/0', "__import__('os').getcwd()", '']
    """
    for read in (_python_literal, _word, _yaml_flow):
        try:
            value = read(text.strip())
            if _is_plain(value):
                return value
        except _NOT_A_VALUE:
            continue
    return text


def _python_literal(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # '\d' is no reason to complain about the user's text
        return ast.literal_eval(text)


def _word(text: str) -> Any:
    if text.lower() not in _WORDS:
        raise ValueError
    return _WORDS[text.lower()]


def _yaml_flow(text: str) -> Any:
    if not text.startswith(("[", "{")):
        raise ValueError
    return yaml.load(text, Loader=PlainLoader)


def _is_plain(value: Any) -> bool:
    """Whether nothing but plain values is in there: no bytes, sets, dates, complex numbers."""
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, (bool, int, float, str))
