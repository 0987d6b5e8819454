"""Tables: what a reader looks for is there, narrow enough, and right."""

from __future__ import annotations

import pytest

from recbole_compress.reports.card import build_card
from recbole_compress.reports.readable import scaled
from recbole_compress.reports.table import card_table


@pytest.fixture
def card(toy):
    choices = {"item_embedding": "blockwise", "item_head": "two_level"}
    names = [f"{name}@{k}" for k in (5, 10, 20) for name in ("recall", "mrr", "ndcg", "hit")]
    return build_card(
        toy.ours(**choices),
        toy.settings(**choices),
        metrics={"valid": dict.fromkeys(names, 0.12345), "test": {"ndcg@10": 0.5}},
        training={
            "seconds": 61.25,
            "epochs": 49,
            "seconds_per_epoch": 1.25,
            "peak_rss_bytes": 512_000_000,
        },
        latency_ms={"batch_size": 1, "k": 10, "p50": 0.514, "p95": 0.9, "runtime": "torch"},
        files={"checkpoint": "saved/a folder/" + "x" * 120 + ".pth", "artifact": None},
    )


def test_one_card(card) -> None:
    text = card_table(card, "saved/X.card.json")
    lines = text.splitlines()
    assert len(lines) <= 25
    assert all(len(line) <= 100 for line in lines if ".pth" not in line)
    assert all(line == line.rstrip() for line in lines)
    assert lines[0] == "CpRecNextItNet on toy, seed 2020, 22 items"
    found = " ".join(text.split())
    for fragment in (
        "item_embedding blockwise, backbone nextitnet, layer_sharing none, item_head two_level",
        f"total {card['parameters']['total']:,d}",
        f"untied {scaled(card['reference_bytes']['untied'], 'B')} "
        f"{card['compression_ratio']['untied']:.2f} times as large",
        "ndcg@20 0.1235",
        "test ndcg@10 0.5000",
        "61.2 s, 49 epochs, 1.25 s per epoch, peak memory 512 MB",
        "p50 0.51 ms, p95 0.90 ms, top 10 for a batch of 1 (torch)",
        f"checkpoint {card['files']['checkpoint']}",
        "card saved/X.card.json",
    ):
        assert fragment in found, fragment


def test_a_line_breaks_between_metrics_never_within(card) -> None:
    # A break after the name would leave the next line to begin with the number.
    assert not any(
        line.split()[0].startswith("0.") for line in card_table(card).splitlines() if line.strip()
    )


def test_what_is_unknown_is_a_dash(toy) -> None:
    bare = build_card(toy.ours(), toy.settings())
    lines = [line.split() for line in card_table(bare).splitlines()]
    assert ["valid", "-"] in lines and ["latency", "-"] in lines
    assert "None" not in card_table(bare)


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (12_345, "12.3 kB"),
        (999_600, "1 MB"),
        (1_234_567_890, "1.23 GB"),
        (1_234_567_890_000, "1235 GB"),
        (None, "-"),
    ],
)
def test_units(value, text) -> None:
    assert scaled(value, "B") == text
