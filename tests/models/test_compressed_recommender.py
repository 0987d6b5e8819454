"""The recommender that all models are: every combination trains, scores and ranks consistently."""

from __future__ import annotations

import itertools

import pytest
import torch
from recbole.config import Config
from recbole.data.interaction import Interaction

from recbole_compress import models
from recbole_compress.backbones import SoftAttentionReadout
from recbole_compress.data import SequenceDataset
from recbole_compress.errors import ConfigError, DataError
from recbole_compress.functional.tensor_train_shapes import TensorTrainShape
from recbole_compress.models.choices import (
    BACKBONES,
    ITEM_EMBEDDINGS,
    ITEM_HEADS,
    READOUTS,
    REPEATS,
)
from tests.conftest import write_interactions
from tests.marks import slow

SEQUENCES = [[f"i{(u * 5 + s * s) % 31}" for s in range(3 + u % 8)] for u in range(60)]
NAMES = {"nextitnet": "CpRecNextItNet", "gru4rec": "CpRecGRU4Rec", "sasrec": "CpRecSASRec"}


def build(folder, model="CpRecNextItNet", **settings):
    path = write_interactions(folder, "tiny", SEQUENCES)
    defaults = {
        "data_path": path,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": 6,
        "embedding_size": 8,
        "low_rank_dim": 3,
        "item_block_cutoffs": [5, 12],
        "embedding_dropout_prob": 0.0,
    }
    if model == "CpRecNextItNet":
        defaults["dilations"] = [1, 2]
    config = Config(model, "tiny", config_dict={**defaults, **settings})
    train, _, test = SequenceDataset(config).build()
    torch.manual_seed(0)
    return getattr(models, model)(config, train), train, test


# Heads that share something which one item embedding has.
NEEDS = {"tied_two_level": "blockwise", "tied_codes": "product_quantized"}
COMBINATIONS = [
    (backbone, embedding, head)
    for backbone, embedding, head in itertools.product(BACKBONES, ITEM_EMBEDDINGS, ITEM_HEADS)
    if NEEDS.get(head, embedding) == embedding
]


# One backbone with all in the default suite; every table and every head with all backbones.
def quick(backbone, embedding, head):
    return backbone == "nextitnet" or head in ("two_level", *NEEDS) or embedding == "dense"


@pytest.mark.parametrize(
    ("backbone", "embedding", "head"),
    [case if quick(*case) else slow(*case) for case in COMBINATIONS],
)
def test_every_combination_trains_and_ranks(tmp_path, backbone, embedding, head):
    trains_and_ranks(*build(tmp_path, NAMES[backbone], item_embedding=embedding, item_head=head))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_trains_and_ranks_behind_soft_attention(tmp_path, backbone):
    trains_and_ranks(*build(tmp_path, NAMES[backbone], readout="soft_attention"))


@pytest.mark.parametrize("head", ITEM_HEADS)
def test_every_head_trains_and_ranks_behind_a_pointer(tmp_path, head):
    given = {"item_embedding": NEEDS.get(head, "dense"), "item_head": head}
    trains_and_ranks(*build(tmp_path, **given, repeats="pointer"))


def trains_and_ranks(model, train, test):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    batch = train[list(range(len(train)))]
    model.train()
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        losses.append(model.calculate_loss(batch))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.1
    assert all(parameter.grad is not None for parameter in model.parameters())

    model.eval()
    rows = test[list(range(len(test)))]
    with torch.no_grad():
        scores = model.full_sort_predict(rows)
        assert scores.shape == (len(test), model.n_items)
        assert (scores[:, 0] == -torch.inf).all()
        assert scores[:, 1:].isfinite().all()
        values, ids = model.topk(rows, 5)
        torch.testing.assert_close(values, scores.topk(5).values, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(scores.gather(1, ids), values, rtol=1e-4, atol=1e-4)
        own = scores.gather(1, rows["item_id"].unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(model.predict(rows), own, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("repeats", REPEATS)
@pytest.mark.parametrize("readout", READOUTS)
def test_all_positions_loss_equals_the_mean_over_prefixes(tmp_path, readout, repeats):
    model, train, _ = build(tmp_path, window_min_context=6, readout=readout, repeats=repeats)
    model.eval()
    by_window = model.calculate_loss(train[list(range(len(train)))])
    train.windows = None
    by_prefix = model.calculate_loss(train[list(range(len(train)))])
    # Both ways show every target the same six items, so the losses agree.
    torch.testing.assert_close(by_window, by_prefix, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backbone", NAMES)
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("repeats", REPEATS)
def test_padding_and_other_rows_change_nothing(tmp_path, backbone, readout, repeats):
    model, *_ = build(tmp_path, NAMES[backbone], readout=readout, repeats=repeats)
    model.eval()
    one = model.score(torch.tensor([[3, 7]]), torch.tensor([2]))
    padded = torch.tensor([[3, 7, 9, 30, 4], [5, 5, 5, 5, 5]])  # rubbish behind the end
    torch.testing.assert_close(
        model.score(padded, torch.tensor([2, 5]))[:1], one, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("backbone", NAMES)
@pytest.mark.parametrize("repeats", REPEATS)
def test_empty_and_one_item_sequences_get_an_answer(tmp_path, backbone, repeats):
    model, *_ = build(tmp_path, NAMES[backbone], repeats=repeats)
    model.eval()
    scores = model.score(torch.tensor([[0, 0], [4, 0], [7, 0]]), torch.tensor([0, 1, 1]))
    assert scores[:, 1:].isfinite().all()
    assert not torch.allclose(scores[1, 1:], scores[2, 1:])
    nothing = model.score(torch.zeros(1, 0, dtype=torch.long), torch.tensor([0]))
    torch.testing.assert_close(nothing, scores[:1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrong", [-1, 32, 10**9])
def test_unseen_items_are_named(tmp_path, wrong):
    model, *_ = build(tmp_path)
    batch = Interaction(
        {"item_id_list": torch.tensor([[3, wrong]]), "item_length": torch.tensor([2])}
    )
    with pytest.raises(DataError, match=f"item id {wrong}: this model knows the ids 1 .. 31"):
        model.full_sort_predict(batch)


def test_a_tensor_train_gets_the_shape_it_is_asked_for(tmp_path):
    def shape_of(**settings):
        model, *_ = build(tmp_path, "CpRecSASRec", item_head="tied", **settings)
        return model.item_embedding.shape

    semi = {"item_embedding": "semi_tensor_train", "stp_factor": 2}
    by_hand = {"tt_row_shape": [6, 6], "tt_col_shape": [2, 4], "tt_ranks": [4]}
    assert shape_of(**semi, **by_hand) == TensorTrainShape((6, 6), (4, 2), (2,))
    assert shape_of(**semi, tt_ranks=2, tt_cores=3).n_cores == 3
    plain = {"item_embedding": "tensor_train"}
    assert shape_of(**plain, tt_bytes=400).n_numbers <= 100
    assert 32 * 8 / shape_of(**plain, tt_ratio=2).n_numbers >= 2


def test_the_papers_model_has_the_papers_form_and_recboles_is_a_few_keys(tmp_path):
    """One layer, one head, soft attention; every core, and every weight besides, is trained."""
    small = {"MAX_ITEM_LIST_LENGTH": 6, "inner_size": 8, "tt_ranks": 4}
    model, train, _ = build(tmp_path, "TTSASRec", **small)
    assert len(model.backbone.layers) == model.backbone.layers[0].num_heads == 1
    assert isinstance(model.readout, SoftAttentionReadout)
    assert model.item_head.embedding is model.item_embedding  # one table, read and scored with
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model.calculate_loss(train[list(range(len(train)))]).backward()
    optimizer.step()
    assert {name.split(".")[0] for name in before} >= {"item_embedding", "backbone", "readout"}
    unchanged = [n for n, w in model.named_parameters() if torch.equal(w, before[n])]
    assert unchanged == []
    recboles, *_ = build(
        tmp_path, "TTSASRec", **small, readout="last", n_layers=2, n_heads=2, item_head="tied"
    )
    assert len(recboles.backbone.layers) == 2 and not list(recboles.readout.parameters())


def test_items_that_training_never_showed_are_ranked_too(tmp_path):
    model, train, _ = build(tmp_path)
    counts = train.item_counts()
    assert counts[1:].min() >= 1  # training showed every item; from here on not item 3
    unseen = counts.clone()
    unseen[3] = 0
    train.item_counts = lambda: unseen
    config = Config("CpRecNextItNet", "tiny", config_dict={"data_path": str(tmp_path)})
    again = models.CpRecNextItNet(config, train)
    assert again.item_embedding.item_blocks.rank_of_id[3] == again.n_items - 2
    assert again.score(torch.tensor([[3]]), torch.tensor([1]))[0, 3].isfinite()


@pytest.mark.parametrize(("scheme", "kept"), [("cross_layer", 1), ("adjacent_block", 2)])
def test_transformer_layers_are_shared_as_they_are_asked_for(tmp_path, scheme, kept):
    model, train, test = build(tmp_path, "CpRecSASRec", n_layers=4, layer_sharing=scheme)
    assert len(model.backbone.layers) == kept and model.choices["layer_sharing"] == scheme
    trains_and_ranks(model, train, test)


def test_shared_partition_is_stored_once(tmp_path):
    model, *_ = build(tmp_path)
    assert model.item_embedding.item_blocks is model.item_head.item_blocks


def test_receptive_field_warning(tmp_path, caplog):
    with caplog.at_level("WARNING"):
        build(tmp_path, dilations=[1], MAX_ITEM_LIST_LENGTH=20)
    assert "sees the newest 7 items, MAX_ITEM_LIST_LENGTH is 20" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"item_head": "tide"}, "item_head='tide'.*did you mean 'tied'"),
        ({"item_embedding": "blokwise"}, "item_embedding='blokwise'.*'blockwise'"),
        ({"layer_sharing": "cross"}, "cross_"),
        ({"model": "CpRecSASRec", "layer_sharing": "cross_block"}, "shared as a whole; choose one"),
        ({"readout": "first"}, "readout='first'"),
        ({"repeats": "copy"}, "repeats='copy'"),
        ({"item_block_cutoffs": [12, 5]}, "must ascend"),
        ({"item_block_cutoffs": [5, 400]}, "leave items on both sides"),
        ({"item_block_cutoffs": "auto", "n_item_blocks": 99}, "n_item_blocks=99"),
        ({"item_block_dims": [8, 2, 0]}, "from 1 to 8"),
        ({"item_embedding": "low_rank", "low_rank_dim": 0}, "low_rank_dim=0"),
        ({"item_embedding": "dense", "item_head": "tied_two_level"}, "no item blocks"),
        (
            {"item_embedding": "semi_tensor_train", "stp_factor": 3},
            "item_embedding=semi_tensor_train: stp_factor=3: choose a divisor of the .* size 8",
        ),
        ({"item_embedding": "tensor_train", "tt_ranks": 0}, r"tt_ranks=\[0\]"),
        ({"item_embedding": "tensor_train", "tt_bytes": 16}, "room for 4 numbers"),
        ({"item_embedding": "tensor_train", "tt_ratio": 0}, "tt_ratio=0: choose"),
        ({"item_embedding": "tensor_train", "tt_ratio": float("nan")}, "tt_ratio=nan: choose"),
        ({"item_embedding": "tensor_train", "tt_bytes": -5}, "tt_bytes=-5: choose"),
        (
            {"item_embedding": "tensor_train", "tt_ratio": 2.0, "tt_bytes": 99},
            "tt_ratio=2.0, tt_bytes=99: give one of them",
        ),
        ({"item_embedding": "product_quantized", "pq_splits": 3}, "pq_splits=3: choose a divisor"),
        ({"item_embedding": "product_quantized", "pq_codes": 300}, "pq_codes=300: choose 1 .. 256"),
        ({"item_head": "tied_codes"}, "BlockwiseEmbedding has no codes"),
        ({"loss_type": "BPR"}, "loss_type='BPR'"),
    ],
)
def test_bad_settings_are_named(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        build(tmp_path, **settings)


def test_one_block_of_a_target_is_told_from_several_of_its_source() -> None:
    shapes = {
        "item_embedding.tables.0": (5, 8),
        "item_embedding.tables.1": (5, 4),
        "item_head.item_blocks.rank_of_id": (8,),
        "item_head.weight": (7, 8),
    }
    found = models.CompressedRecommender.settings_of_shapes(shapes)
    assert found == {"item_block_cutoffs": [5], "target_block_cutoffs": []}
