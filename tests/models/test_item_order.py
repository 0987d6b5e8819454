"""Item blocks sorted by id: the same scores, fewer bytes, and states of either kind are read."""

from __future__ import annotations

import pytest
import torch

from recbole_compress.embeddings import ItemBlocks
from recbole_compress.models.item_order import sort_item_blocks_
from tests.quantization.models import N_ITEMS, made, some_requests

VARIANTS = {
    "two_level": {},
    "tied_two_level": {"item_head": "tied_two_level", "head_block_projection": True},
    "blocks_in": {"item_head": "untied"},
    "blocks_out": {"item_embedding": "dense"},
    "no_blocks": {"item_embedding": "dense", "item_head": "tied"},
}


def by_popularity(seed=0, **settings):
    """A model whose popular items have any ids."""
    _, model = made("CpRecNextItNet", **settings)
    rank = torch.randperm(N_ITEMS - 1, generator=torch.Generator().manual_seed(seed))
    for blocks in {m for m in model.modules() if isinstance(m, ItemBlocks)}:
        blocks.load_state_dict({"rank_of_id": torch.cat([torch.tensor([-1]), rank]).int()})
    return model


@torch.no_grad()
def scores(model):
    return model.full_sort_predict(some_requests(model))


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_a_sorted_model_scores_as_before_and_so_does_its_state(settings) -> None:
    model = by_popularity(**settings)
    before, state = scores(model), model.state_dict()
    orders = [name for name in state if name.endswith("rank_of_id")]
    assert all(state[name].dtype == torch.int32 for name in orders)
    state = {name: tensor.clone() for name, tensor in state.items()}

    sort_item_blocks_(model)
    assert torch.allclose(scores(model), before, atol=1e-6)
    sorted_state = model.state_dict()
    assert all(sorted_state[name].dtype == torch.uint8 for name in orders)
    for each in (sorted_state, state):
        other = by_popularity(seed=1, **settings)
        other.load_state_dict(each)
        assert torch.allclose(scores(other), before, atol=1e-6)


def test_sorting_twice_changes_nothing() -> None:
    model = by_popularity()
    sort_item_blocks_(model)
    once = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sort_item_blocks_(model)
    assert all(torch.equal(tensor, once[name]) for name, tensor in model.state_dict().items())


def test_more_blocks_than_a_byte_can_tell_keep_their_order() -> None:
    rank = torch.cat([torch.tensor([-1]), torch.arange(300)]).int()
    assert ItemBlocks((1,) * 256 + (44,), rank).state_dict()["rank_of_id"].dtype == torch.int32
    assert ItemBlocks((1,) * 255 + (45,), rank).state_dict()["rank_of_id"].dtype == torch.uint8


def test_blocks_of_other_sizes_are_refused() -> None:
    blocks = ItemBlocks((1, 2), torch.tensor([-1, 0, 1, 2]).int())
    with pytest.raises(RuntimeError, match=r"rank_of_id: item blocks of \[2, 1\], not \[1, 2\]"):
        blocks.load_state_dict({"rank_of_id": torch.tensor([0, 0, 0, 1], dtype=torch.uint8)})
    assert blocks.rank_of_id.tolist() == [-1, 0, 1, 2]
