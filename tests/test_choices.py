"""What has a name is admitted, told of and exported: the places "Adding a method" lists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from recbole_compress.config.properties_folder import properties_folder
from recbole_compress.config.schema import declared_in
from recbole_compress.export.lookup import stored_items
from recbole_compress.export.scoring import stored_scorer
from recbole_compress.models.choices import (
    BACKBONES,
    ITEM_EMBEDDINGS,
    ITEM_HEADS,
    LOG_PROB_HEADS,
    READOUTS,
    REPEATS,
)
from tests.quantization.models import made

AXES = {
    "item_embedding": ITEM_EMBEDDINGS,
    "item_head": ITEM_HEADS,
    "backbone": BACKBONES,
    "readout": READOUTS,
    "repeats": REPEATS,
}
NEEDS = {"tied_two_level": "blockwise", "tied_codes": "product_quantized"}
MODELS = Path(__file__).resolve().parents[1] / "docs" / "models.md"


@pytest.mark.parametrize("axis", AXES)
def test_the_yaml_files_admit_every_choice(axis) -> None:
    files = [declared_in(path) for path in sorted((properties_folder() / "model").glob("*.yaml"))]
    admitted = [set(keys[axis].choices) for keys in files if axis in keys]
    assert set().union(*admitted) == set(AXES[axis])
    if axis != "backbone":  # a model's name says which
        assert admitted == [set(AXES[axis])] * len(admitted)


@pytest.mark.parametrize("axis", AXES)
def test_the_documentation_tells_of_every_choice(axis) -> None:
    row = re.search(rf"^\| `?{axis}`? \| ([^|]+) \|", MODELS.read_text(), re.MULTILINE)
    assert row is not None
    assert set(re.findall(r"`(\w+)`", row[1])) == set(AXES[axis])


@torch.no_grad()
@pytest.mark.parametrize("name", ITEM_HEADS)
def test_it_is_known_which_heads_score_with_log_probabilities(name) -> None:
    parts = {"item_embedding": NEEDS.get(name, "dense"), "item_head": name}
    _, model = made("CpRecNextItNet", **parts)
    scores = model.item_head.scores(torch.ones(1, model.item_head.embedding_dim))
    sums_to_one = abs(scores.exp().sum().item() - 1) < 1e-4
    assert sums_to_one == (name in LOG_PROB_HEADS)


@pytest.mark.parametrize("name", ITEM_EMBEDDINGS)
def test_every_item_embedding_can_be_exported(name) -> None:
    _, model = made("CpRecNextItNet", item_embedding=name, item_head="untied")
    assert stored_items.dispatch(type(model.item_embedding)) is not stored_items.dispatch(object)


@pytest.mark.parametrize("repeats", REPEATS)
@pytest.mark.parametrize("name", ITEM_HEADS)
def test_every_item_head_can_be_exported(name, repeats) -> None:
    parts = {"item_embedding": NEEDS.get(name, "dense"), "item_head": name, "repeats": repeats}
    _, model = made("CpRecNextItNet", **parts)
    assert stored_scorer.dispatch(type(model.item_head)) is not stored_scorer.dispatch(object)
