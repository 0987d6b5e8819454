"""The card: its schema, its arithmetic, its file."""

from __future__ import annotations

import copy
import json
import os
import stat
from collections import OrderedDict

import numpy as np
import pytest
import torch

from recbole_compress.errors import CheckpointError
from recbole_compress.reports.card import build_card, card_path_for, validate_card, write_card

COMPRESSED = {
    "item_embedding": "blockwise",
    "item_head": "two_level",
    "layer_sharing": "cross_block",
}


@pytest.fixture
def card(toy):
    return build_card(
        toy.ours(**COMPRESSED),
        toy.settings(**COMPRESSED),
        metrics={"valid": OrderedDict({"NDCG@10": np.float64(0.25)}), "test": None},
        training={"seconds": 3.0, "epochs": 2, "seconds_per_epoch": 1.5},
        files={"checkpoint": "saved/X.pth", "artifact": None},
    )


def test_the_schema_is_the_agreed_one(card) -> None:
    validate_card(card)
    assert set(card) == {
        "schema",
        "model",
        "dataset",
        "seed",
        "choices",
        "n_items",
        "parameters",
        "size_bytes",
        "reference_bytes",
        "compression_ratio",
        "macs_per_request",
        "metrics",
        "reference_metrics",
        "training",
        "latency_ms",
        "files",
        "environment",
        "commit",
    }
    assert card["schema"] == 1
    assert (card["model"], card["dataset"], card["seed"]) == ("CpRecNextItNet", "toy", 2020)
    assert card["n_items"] == 22
    assert card["choices"] == {
        "item_embedding": "blockwise",
        "backbone": "nextitnet",
        "readout": "last",
        "repeats": "none",
        "layer_sharing": "cross_block",
        "item_head": "two_level",
        "weight_bits": 32,
        "table_bits": 32,
        "activation_bits": 32,
        "recipe": "cross_entropy",
        "training_targets": "all",
    }


def test_what_was_not_measured_is_null(card) -> None:
    assert card["metrics"] == {"valid": {"ndcg@10": 0.25}, "test": None}
    assert card["training"]["peak_rss_bytes"] is None
    assert card["latency_ms"] == dict.fromkeys(["batch_size", "k", "p50", "p95", "runtime"])
    assert card["size_bytes"]["file"] is None and card["reference_metrics"] is None


def test_ratios_compare_with_the_uncompressed_counterpart(card, toy) -> None:
    plain = build_card(toy.ours(), toy.settings())
    assert plain["compression_ratio"]["untied"] == 1.0
    ratio = plain["size_bytes"]["total"] / card["size_bytes"]["total"]
    assert card["compression_ratio"]["untied"] == ratio > 1


def test_the_exported_file_is_what_is_compared(toy, tmp_path) -> None:
    artifact = tmp_path / "model.bin"
    artifact.write_bytes(b"x" * 100)
    card = build_card(toy.ours(), toy.settings(), files={"artifact": str(artifact)})
    validate_card(card)
    assert card["size_bytes"]["file"] == 100
    assert card["compression_ratio"]["tied"] == card["reference_bytes"]["tied"] / 100


def test_further_choices_replace_and_add(toy) -> None:
    card = build_card(toy.ours(), toy.settings(), choices={"table_bits": 4, "group_size": 32})
    assert card["choices"]["table_bits"] == 4 and card["choices"]["group_size"] == 32
    assert card["choices"]["weight_bits"] == 32


def test_stock_models_have_the_same_card(toy, stock_name) -> None:
    card = build_card(toy.stock(stock_name), toy.stock_settings(stock_name))
    validate_card(card)
    assert card["choices"] == {
        "item_embedding": "dense",
        "backbone": stock_name.lower(),
        "layer_sharing": "none",
        "item_head": "tied",
        "weight_bits": 32,
        "table_bits": 32,
        "activation_bits": 32,
        "recipe": "cross_entropy",
        "training_targets": "last",
    }
    if stock_name != "BERT4Rec":  # has a mask token and a bias besides
        assert card["compression_ratio"]["tied"] == 1.0


def test_an_output_layer_of_its_own_makes_a_stock_model_untied(toy) -> None:
    model = toy.stock("GRU4Rec")
    model.last = torch.nn.Linear(8, 23)
    assert build_card(model, toy.stock_settings("GRU4Rec"))["choices"]["item_head"] == "untied"


# -- the file ----------------------------------------------------------------------------------


def strict(text: str):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_file_is_strict_json(toy, tmp_path) -> None:
    settings = toy.settings() | {"seed": np.int64(7)}
    odd = {"a": float("nan"), "b": np.float32(np.inf), "c": torch.tensor(2.5), "d": np.bool_(True)}
    card = build_card(toy.ours(), settings, metrics={"test": odd})
    path = tmp_path / "new" / "X.card.json"
    write_card(card, str(path))
    written = strict(path.read_text())
    assert written == card
    assert written["metrics"]["test"] == {"a": None, "b": None, "c": 2.5, "d": True}
    assert written["seed"] == 7
    assert os.listdir(path.parent) == ["X.card.json"]


def test_others_may_read_it_as_any_new_file(card, tmp_path) -> None:
    path, ordinary = tmp_path / "X.card.json", tmp_path / "ordinary"
    write_card(card, str(path))
    ordinary.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


@pytest.mark.parametrize("failing", ["open", "replace"])
def test_a_failed_write_leaves_the_old_card_alone(card, tmp_path, monkeypatch, failing) -> None:
    path = tmp_path / "X.card.json"
    path.write_text("old")

    def disk_full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    if failing == "open":
        monkeypatch.setattr("builtins.open", disk_full)
    else:
        monkeypatch.setattr(os, "replace", disk_full)
    with pytest.raises(CheckpointError, match="No space left on device") as caught:
        write_card(card, str(path))
    monkeypatch.undo()
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["X.card.json"]


def test_a_folder_that_cannot_be_made(card, tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="card_path="):
        write_card(card, str(tmp_path / "file" / "X.card.json"))


@pytest.mark.parametrize(
    "checkpoint, expected",
    [
        ("saved/A-Jan-1.5.pth", "saved/A-Jan-1.5.card.json"),
        ("model.onnx", "model.card.json"),
        ("v1.2/model", "v1.2/model.card.json"),
    ],
)
def test_the_card_lies_beside_the_checkpoint(checkpoint, expected) -> None:
    assert card_path_for(checkpoint) == expected


# -- the check ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil, complaint",
    [
        (lambda c: c.pop("seed"), "seed is missing"),
        (lambda c: c["training"].pop("epochs"), "training lacks epochs"),
        (lambda c: c.update(schema=2), "schema=2"),
        (lambda c: c["parameters"].update(total=1), "total=1 is not the sum"),
        (lambda c: c["compression_ratio"].update(tied=9.0), "compression_ratio.tied=9.0"),
        (lambda c: c["metrics"].update(test={"NDCG@10": 1.0}), "not lower case"),
        (lambda c: c["metrics"].update(test={"x": float("nan")}), "not strict JSON"),
    ],
)
def test_an_unsound_card_is_named(card, spoil, complaint) -> None:
    spoiled = copy.deepcopy(card)
    spoil(spoiled)
    with pytest.raises(ValueError, match=complaint):
        validate_card(spoiled)
