"""Sizes against hand-made sums, and every storage once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recbole_compress.models.choices import ITEM_EMBEDDINGS
from recbole_compress.reports.size import count_storage, item_tensors, reference_bytes

D, N = 8, 23


def hand_count(model: nn.Module) -> tuple[int, int]:
    """Parameters and bytes of a model that shares nothing."""
    numbers = sum(p.numel() for p in model.parameters())
    return numbers, sum(t.numel() * t.element_size() for t in model.state_dict().values())


@pytest.mark.parametrize("item_embedding", [*ITEM_EMBEDDINGS])
@pytest.mark.parametrize("item_head", ["untied", "low_rank", "tied"])
@pytest.mark.parametrize("backbone", ["nextitnet", "gru4rec", "sasrec"])
def test_parts_add_up_to_the_state_dict(toy, item_embedding, item_head, backbone) -> None:
    model = toy.ours(item_embedding=item_embedding, item_head=item_head, backbone=backbone)
    size = count_storage(model)
    assert (size.parameters.total, size.size_bytes.total) == hand_count(model)
    assert size.parameters.backbone == sum(p.numel() for p in model.backbone.parameters())
    assert (size.parameters.item_output == 0) == (item_head == "tied")


def test_dense_and_untied_by_hand(toy) -> None:
    size = count_storage(toy.ours()).size_bytes
    assert size.item_input == size.item_output == 4 * N * D


def test_an_index_is_bytes_but_no_parameters_and_belongs_to_the_input(toy) -> None:
    model = toy.ours(item_embedding="blockwise", item_head="two_level")
    size = count_storage(model)
    # Item blocks of 4, 6 and 12 items, 8, 4 and 2 wide; two cluster tokens in the head.
    tails = 6 * 4 + 4 * D + 12 * 2 + 2 * D
    assert size.parameters.item_input == 4 * D + tails
    assert size.parameters.item_output == (4 + 2) * D + tails
    # The block of every item, a byte as these are numbered by popularity; stored once.
    assert size.size_bytes.item_input == 4 * size.parameters.item_input + N
    assert size.size_bytes.item_output == 4 * size.parameters.item_output
    # The inverse permutation is not stored: it is derived when the model is loaded.
    assert "id_of_rank" not in "".join(model.state_dict())

    reverse = torch.cat([torch.tensor([-1]), torch.arange(N - 1).flip(0)]).int()
    model.item_head.item_blocks.load_state_dict({"rank_of_id": reverse})
    assert count_storage(model).size_bytes.item_input == 4 * size.parameters.item_input + 4 * N


@pytest.mark.parametrize("item_embedding", ["tensor_train", "semi_tensor_train"])
def test_a_tensor_train_weighs_its_cores_also_after_it_built_its_table(toy, item_embedding) -> None:
    model = toy.ours(item_embedding=item_embedding, item_head="tied").eval()
    numbers = model.item_embedding.shape.n_numbers
    with torch.no_grad():
        model.item_head.scores(torch.zeros(1000, D))
    size = count_storage(model)
    assert size.parameters.item_input * 4 == size.size_bytes.item_input == 4 * numbers
    assert size.size_bytes.item_output == 0


def test_codes_are_counted_once_as_bytes(toy) -> None:
    pq = {"item_embedding": "product_quantized", "pq_splits": 4, "pq_codes": 5}
    size = count_storage(toy.ours(item_head="tied_codes", **pq))
    assert size.parameters.item_input == size.parameters.item_output == 5 * D
    assert size.size_bytes.item_input == 4 * 5 * D + 4 * (N - 1)
    assert size.size_bytes.item_output == 4 * 5 * D


def test_shared_layers_are_counted_once(toy) -> None:
    separate, shared = (
        count_storage(toy.ours(layer_sharing=scheme)).parameters.backbone
        for scheme in ("none", "cross_layer")
    )
    assert separate - shared == 7 * (3 * D * D + D)


def test_frozen_parameters_and_other_widths_count(toy) -> None:
    model = toy.ours().requires_grad_(False)
    before = count_storage(model)
    assert before.parameters == count_storage(toy.ours()).parameters
    model.item_embedding.half()
    after = count_storage(model).size_bytes
    assert after.item_input * 2 == before.size_bytes.item_input
    assert after.backbone == before.size_bytes.backbone


class Plain(nn.Module):
    """Not of this package: an item table, a dense layer, an output."""

    def __init__(self, output: torch.Tensor | None) -> None:
        super().__init__()
        self.n_items = N
        self.register_buffer("constants", torch.zeros(3, dtype=torch.int64))
        self.register_buffer("scratch", torch.zeros(99), persistent=False)
        self.output = nn.Parameter(output) if output is not None else None
        self.dense = nn.Linear(D, D)
        self.item_embedding = nn.Embedding(N, D)


@pytest.mark.parametrize(
    "view, numbers_of_output",
    [
        (lambda table: table, 0),
        (lambda table: table.view(N, D), 0),
        (lambda table: table.clone(), N * D),
    ],
)
def test_a_view_is_no_second_storage(view, numbers_of_output) -> None:
    model = Plain(None)
    model.output = nn.Parameter(view(model.item_embedding.weight.data))
    size = count_storage(model)
    assert size.parameters == (N * D, numbers_of_output, D * D + D)
    assert size.size_bytes == (4 * N * D, 4 * numbers_of_output, 4 * (D * D + D) + 3 * 8)


def test_views_that_overlap_in_part_count_their_union() -> None:
    storage = torch.zeros(N + 1, D)
    model = Plain(storage[1:])
    model.item_embedding.weight = nn.Parameter(storage[:-1])
    assert count_storage(model).parameters == (N * D, D, D * D + D)


def test_shape_tells_the_parts_of_stock_models(toy, stock_name) -> None:
    model = toy.stock(stock_name)
    size = count_storage(model)
    rows = N + 1 if stock_name == "BERT4Rec" else N  # one more for the mask
    assert size.parameters.item_input == rows * D
    assert size.parameters.item_output == (N if stock_name == "BERT4Rec" else 0)
    assert (size.parameters.total, size.size_bytes.total) == hand_count(model)


def test_a_dense_output_layer_of_a_stock_model_is_output(toy) -> None:
    model = toy.stock("GRU4Rec")
    model.last = nn.Linear(D, N)
    assert count_storage(model).parameters.item_output == N * D + N
    assert [t.shape for t in item_tensors(model)[1]] == [(N, D), (N,)]


@pytest.mark.parametrize("backbone", ["nextitnet", "gru4rec", "sasrec"])
@pytest.mark.parametrize("item_head", ["tied", "untied"])
def test_the_uncompressed_model_is_its_own_reference(toy, backbone, item_head) -> None:
    choices = {"backbone": backbone, "item_head": item_head}
    model = toy.ours(**choices)
    reference = reference_bytes(model, toy.settings(**choices))
    assert reference[item_head] == count_storage(model).size_bytes.total


def test_the_reference_undoes_compression_and_leaves_chance_alone(toy) -> None:
    compressed = {
        "item_embedding": "blockwise",
        "item_head": "two_level",
        "layer_sharing": "cross_block",
    }
    plain = count_storage(toy.ours()).size_bytes
    model, settings = toy.ours(**compressed), toy.settings(**compressed)
    chance = torch.get_rng_state()
    assert reference_bytes(model, settings) == {
        "tied": plain.total - plain.item_output,
        "untied": plain.total,
    }
    assert torch.equal(chance, torch.get_rng_state())
    assert settings["layer_sharing"] == "cross_block"


def test_a_pointer_is_part_of_the_backbone_on_both_sides(toy) -> None:
    without, with_one = (toy.ours(repeats=name) for name in ("none", "pointer"))
    own = sum(p.numel() for p in with_one.pointer.parameters())
    more = count_storage(with_one).parameters.backbone - count_storage(without).parameters.backbone
    assert more == own
    references = [
        reference_bytes(model, toy.settings(repeats=name))["tied"]
        for name, model in (("none", without), ("pointer", with_one))
    ]
    assert references[1] - references[0] == 4 * own


def test_a_readout_is_part_of_the_backbone_on_both_sides(toy) -> None:
    model, settings = toy.ours(readout="soft_attention"), toy.settings(readout="soft_attention")
    own = sum(p.numel() for p in model.readout.parameters())
    backbone = count_storage(toy.ours()).parameters.backbone
    assert count_storage(model).parameters.backbone == backbone + own > backbone
    assert reference_bytes(model, settings)["untied"] == count_storage(model).size_bytes.total


def test_stock_models_are_their_own_reference(toy, stock_name) -> None:
    model = toy.stock(stock_name)
    size, table = count_storage(model).size_bytes, 4 * N * D
    reference = reference_bytes(model, toy.stock_settings(stock_name))
    assert reference == {"tied": size.backbone + table, "untied": size.backbone + 2 * table}


def test_without_an_item_table_there_is_no_reference() -> None:
    model = Plain(None)
    model.item_embedding = nn.Embedding(N + 2, D)
    assert reference_bytes(model, {}) == {"tied": None, "untied": None}
