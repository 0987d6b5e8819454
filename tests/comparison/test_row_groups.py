"""Test targets that training never shows, or that the sequence holds already, stand apart."""

from __future__ import annotations

import pytest

from recbole_compress.quick_start.command_line import main
from tests.comparison.experiments import document_in, write_experiment
from tests.conftest import SEQUENCES, write_interactions


@pytest.mark.parametrize("n_unseen", [0, 20])
def test_what_was_never_shown_has_a_column_of_its_own(in_tmp, started, n_unseen):
    seen = [[f"i{s % 17}" for s in range(u, u + 6)] for u in range(len(SEQUENCES))]
    last = [[f"only{u}"] if u < n_unseen else [] for u in range(len(seen))]
    write_interactions(in_tmp / "data", "tiny", [a + b for a, b in zip(seen, last, strict=True)])
    main(["compare", write_experiment(in_tmp), "--only=gru", "--seeds=1"])
    page = (in_tmp / "runs/compare/exp/comparison.md").read_text()
    header = next(line for line in page.splitlines() if line.startswith("| run |"))
    assert header.endswith(" tail | unseen |" if n_unseen else " tail |")
    assert (f"unseen {n_unseen} (25% of the rows)" in page) == bool(n_unseen)
    groups = document_in(in_tmp)["datasets"]["tiny"]["entries"]["gru"]["popularity"]
    assert groups["unseen"]["share_of_rows"] == n_unseen / len(seen)


def test_what_comes_again_has_a_column_of_its_own(in_tmp, started):
    new = [[f"i{s % 17}" for s in range(u, u + 6)] for u in range(len(SEQUENCES))]
    again = [items + items[:1] for items in new[:20]] + new[20:]
    write_interactions(in_tmp / "data", "tiny", again)
    main(["compare", write_experiment(in_tmp), "--only=gru", "--seeds=1"])
    page = (in_tmp / "runs/compare/exp/comparison.md").read_text()
    header = next(line for line in page.splitlines() if line.startswith("| run |"))
    assert header.endswith(" tail | again | new |")
    assert "25% of the targets are in the sequence already" in page
    groups = document_in(in_tmp)["datasets"]["tiny"]["entries"]["gru"]["novelty"]
    assert groups["again"]["share_of_rows"] == 1 - groups["new"]["share_of_rows"] == 0.25
