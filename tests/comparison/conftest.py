from __future__ import annotations

import pytest

from tests.comparison.experiments import run_here
from tests.conftest import SEQUENCES, write_interactions


@pytest.fixture
def folder(in_tmp):
    write_interactions(in_tmp / "data", "tiny", SEQUENCES)
    return in_tmp


@pytest.fixture
def started(monkeypatch):
    """Runs happen in this process, which is quicker; the list tells which were started."""
    return run_here(monkeypatch)
