from __future__ import annotations

import pytest

from recbole_compress.trainers.safe_trainer import SafeTrainer
from tests.conftest import SEQUENCES, write_interactions


@pytest.fixture
def path(in_tmp):
    """The folder of a small data set ``tiny``."""
    return write_interactions(in_tmp, "tiny", SEQUENCES)


@pytest.fixture
def trainers(monkeypatch):
    """Every trainer that a run makes, in order."""
    made = []
    init = SafeTrainer.__init__

    def remember(self, config, model):
        init(self, config, model)
        made.append(self)

    monkeypatch.setattr(SafeTrainer, "__init__", remember)
    return made
