"""Marks of single cases."""

from __future__ import annotations

import pytest

__all__ = ["slow"]


def slow(*case, id=None):
    """One case of a parametrized test that the default suite leaves out."""
    return pytest.param(*case, id=id, marks=pytest.mark.slow)
