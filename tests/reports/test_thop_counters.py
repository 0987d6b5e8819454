"""RecBole's own count, with our modules in it."""

from __future__ import annotations

import logging
import sys
import warnings

import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.utils import get_flops

from recbole_compress.backbones.last_position_plan import needed_positions
from recbole_compress.models.choices import ITEM_EMBEDDINGS, ITEM_HEADS, REPEATS
from recbole_compress.reports.macs import count_macs
from recbole_compress.reports.thop_counters import COUNTERS, register

D, N, L = 8, 23, 7


class OneRow:
    """What ``get_flops`` asks of a data set. Smaller ids are more popular in the toy data."""

    def __init__(self, target: int) -> None:
        self.target = target

    def __getitem__(self, index) -> Interaction:
        return Interaction(
            {
                "item_id_list": torch.tensor([[1, 5, 8, 12, 16, 19, 22]]),
                "item_length": torch.tensor([L]),
                "item_id": torch.tensor([self.target]),
            }
        )


def flops(model, target: int = 3) -> int:
    counted = get_flops(
        model, OneRow(target), "cpu", logging.getLogger(), transform=lambda _, row: row
    )
    return int(counted)


@pytest.fixture(autouse=True)
def registered() -> None:
    register()


def norms_and_convolutions(model) -> int:
    # Residual blocks of type b: a layer norm after every convolution, over what that computes.
    normed = sum(len(p) for _, *after in needed_positions(L, model.backbone.steps) for p in after)
    return model.backbone.last_state_macs(L) + normed * 2 * D


def test_registering_twice_changes_nothing() -> None:
    from thop.profile import register_hooks

    register()
    before = set(register_hooks)
    register()
    assert set(register_hooks) == before and set(COUNTERS) <= before


def test_thop_is_imported_without_a_warning(monkeypatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "thop"]:
        monkeypatch.delitem(sys.modules, name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        register()
    assert not caught


@pytest.mark.parametrize("layer_sharing", ["none", "cross_layer"])
def test_a_whole_model(toy, layer_sharing) -> None:
    model = toy.ours(layer_sharing=layer_sharing)
    assert flops(model) == norms_and_convolutions(model) + L * D + D
    assert not any("total_ops" in name for name in model.state_dict())


@pytest.mark.parametrize(
    "choices, items",
    [
        ({"item_head": "tied"}, L * D + D + D),  # the target's row is a lookup of its own
        ({"item_head": "low_rank"}, L * D + 2 * D + 2),
        ({"item_embedding": "low_rank"}, L * (2 + 2 * D) + D),
        # Item 1 is in the head, 5 and 8 are in the first tail, the other four in the second.
        ({"item_embedding": "blockwise"}, D + 2 * (4 + 4 * D) + 4 * (2 + 2 * D) + D),
        # Columns 4 x 2, rank 2: slices of 4 x 2 and 2 x 2 numbers, 4 x 2 x 2 multiply-adds.
        ({"item_embedding": "tensor_train"}, L * (8 + 4 + 16) + D),
    ],
)
def test_items(toy, choices, items) -> None:
    model = toy.ours(**choices)
    assert flops(model) == norms_and_convolutions(model) + items


@pytest.mark.parametrize(
    "target, tail", [(3, 0), (8, 6 * 4 + 4 * D), (22, 12 * 2 + 2 * D)], ids=["head", "1st", "2nd"]
)
def test_a_two_level_head_opens_the_tail_of_its_target(toy, target, tail) -> None:
    model = toy.ours(item_head="two_level")
    assert flops(model, target) == norms_and_convolutions(model) + L * D + (4 + 2) * D + tail


@pytest.mark.parametrize("head_block_projection", [False, True])
@pytest.mark.parametrize("target", [3, 8, 22])
def test_a_tied_two_level_head_is_counted_as_it_multiplies(
    toy, target, head_block_projection
) -> None:
    head = toy.ours(
        item_embedding="blockwise",
        item_head="tied_two_level",
        head_block_projection=head_block_projection,
    ).item_head
    hidden, ids = torch.randn(1, D), torch.tensor([target])
    with torch.no_grad():
        assert COUNTERS[type(head)](head, hidden, ids) == count_macs(lambda: head(hidden, ids))


def test_no_item_embedding_is_free(toy) -> None:
    embeddings = {type(toy.ours(item_embedding=name).item_embedding) for name in ITEM_EMBEDDINGS}
    assert embeddings <= set(COUNTERS)


def test_no_item_head_is_free(toy) -> None:
    needs = {"tied_two_level": "blockwise", "tied_codes": "product_quantized"}
    for name in ITEM_HEADS:
        for repeats in REPEATS:
            parts = {"item_embedding": needs.get(name, "dense"), "item_head": name}
            head = toy.ours(**parts, repeats=repeats).item_head
            assert COUNTERS[type(head)](head, torch.randn(1, D), torch.tensor([3])) > 0


def test_stock_models_are_counted_as_without_us(toy, monkeypatch) -> None:
    profile = sys.modules["thop.profile"]  # as an attribute, thop hides it behind a function
    model = toy.stock("NextItNet")
    with_ours = flops(model)
    thops = {kind: hook for kind, hook in profile.register_hooks.items() if kind not in COUNTERS}
    monkeypatch.setattr(profile, "register_hooks", thops)
    assert flops(model) == with_ours > 0
    assert flops(toy.ours()) < with_ours  # our convolutions would be free
