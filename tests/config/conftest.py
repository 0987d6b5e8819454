"""RecBole's own ``Config`` would read pytest's arguments as settings."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch):
    monkeypatch.setattr("sys.argv", ["pytest"])
