"""Checkpoints from before there was a choice are made again as they were."""

from __future__ import annotations

from recbole_compress.functional.scattered_rows import scattering_factor
from recbole_compress.quick_start.from_checkpoint import model_alone
from recbole_compress.trainers.checkpoint import load_checkpoint, save_checkpoint


def test_a_tensor_train_keeps_the_order_of_ids(alone):
    path = alone("TTSASRec")
    restored = model_alone(path).model
    assert restored.item_embedding.factor == scattering_factor(restored.n_items - 1) > 1
    state = load_checkpoint(path)
    del state["config"].final_config_dict["tt_item_order"]
    save_checkpoint(state, path)
    assert model_alone(path).model.item_embedding.factor == 1


def test_a_model_that_knows_no_order_is_given_none(alone):
    assert "tt_item_order" not in model_alone(alone("GRU4Rec")).config.external_config_dict
