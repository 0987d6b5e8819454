"""A data set that a trial takes a second on."""

from __future__ import annotations

import pytest

from tests.conftest import write_interactions

SEQUENCES = [[f"i{(u * 7 + s * s) % 41}" for s in range(4 + u % 9)] for u in range(60)]


@pytest.fixture
def job(in_tmp):
    """What every ``tune`` command of a test has in common; spaces are the test's own."""
    path = write_interactions(in_tmp, "tiny", SEQUENCES)
    return [
        *("--model=CpRecGRU4Rec", "--dataset=tiny", f"--data_path={path}", "--epochs=1"),
        *("--MAX_ITEM_LIST_LENGTH=6", "--threads=1", "--valid_metric=NDCG@10"),
    ]


@pytest.fixture
def write_space(in_tmp):
    def write(*lines: str) -> str:
        (in_tmp / "space.hyper").write_text("\n".join(lines) + "\n")
        return "--params_file=space.hyper"

    return write
