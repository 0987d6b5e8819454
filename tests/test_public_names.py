"""What the package offers by name: all of it is there and says what it does."""

from __future__ import annotations

import importlib
import inspect

import pytest

import recbole_compress
from recbole_compress import quick_start


@pytest.mark.parametrize("module", [recbole_compress, quick_start], ids=lambda m: m.__name__)
def test_every_public_name_is_there_and_explained(module) -> None:
    for name in module.__all__:
        assert inspect.getdoc(getattr(module, name)), name
        assert name in dir(module)


def test_the_package_hands_on_what_quick_start_offers() -> None:
    handed_on = {*recbole_compress.__all__} - {"__version__"}
    assert handed_on == {*quick_start.__all__}
    for name in handed_on:
        function = getattr(quick_start, name)
        assert getattr(recbole_compress, name) is function
        assert function.__name__ == name
        assert name in importlib.import_module(function.__module__).__all__


def test_other_names_are_not_there() -> None:
    for module in (recbole_compress, quick_start):
        with pytest.raises(AttributeError, match="has no attribute 'quantise'"):
            _ = module.quantise
