from __future__ import annotations

from pathlib import Path

import pytest

from recbole_compress.comparison import runs
from recbole_compress.quick_start.command_line import main
from tests.conftest import SEQUENCES, write_interactions


@pytest.fixture
def folder(in_tmp):
    write_interactions(in_tmp / "data", "tiny", SEQUENCES)
    return in_tmp


@pytest.fixture
def started(monkeypatch):
    """Runs happen in this process, which is quicker; the list tells which were started."""
    names = []

    def run(self, command, log):
        arguments = command[len(runs.COMMAND) :]
        (card,) = [a for a in arguments if a.startswith("--card_path=")]
        names.append(Path(card).name.removesuffix(".card.json"))
        return main(arguments)

    monkeypatch.setattr(runs._Children, "run", run)
    return names
