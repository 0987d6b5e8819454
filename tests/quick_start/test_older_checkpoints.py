"""Checkpoints from before there was a choice are made again as they were."""

from __future__ import annotations

from recbole_compress.functional.scattered_rows import scattering_factor
from recbole_compress.quick_start.from_checkpoint import model_alone
from recbole_compress.quick_start.resumption import settings_of
from recbole_compress.trainers.checkpoint import load_checkpoint, save_checkpoint


def test_a_tensor_train_keeps_the_order_of_ids(alone):
    path = alone("TTSASRec")
    restored = model_alone(path).model
    table = restored.item_embedding
    assert table.factor == scattering_factor(restored.n_items - 1, table.shape.rows) > 1
    state = load_checkpoint(path)
    del state["config"].final_config_dict["tt_item_order"]
    save_checkpoint(state, path)
    assert model_alone(path).model.item_embedding.factor == 1
    assert settings_of(None, {"resume": path}, None)["tt_item_order"] == "by_id"


def test_a_first_phase_goes_on_in_the_order_of_its_run(alone):
    path = alone("TTSASRec")
    state = load_checkpoint(path)
    known = state["config"].final_config_dict
    del known["tt_item_order"]
    known["part_of"] = {"model": "TTSASRec", "dataset": "tiny", "recipe": "distillation"}
    save_checkpoint(state, path)
    assert settings_of(None, {"resume": path}, None)["tt_item_order"] == "by_id"


def test_a_model_that_knows_no_order_is_given_none(alone):
    assert "tt_item_order" not in model_alone(alone("GRU4Rec")).config.external_config_dict


def test_a_model_that_had_no_teacher_is_given_no_weight_of_its_tasks(alone):
    path = alone("TTSASRec")
    state = load_checkpoint(path)
    state["config"].final_config_dict["kd_contrastive_weight"] = 0.2
    save_checkpoint(state, path)
    assert "kd_contrastive_weight" not in model_alone(path).config.external_config_dict


def test_what_a_first_phase_was_told_says_nothing_of_its_run(alone):
    path = alone("TTSASRec")
    state = load_checkpoint(path)
    config = state["config"]
    config.external_config_dict["tt_item_order"] = "by_id"
    config.final_config_dict["tt_item_order"] = "by_id"
    config.final_config_dict["part_of"] = {"model": "TTSASRec", "dataset": "tiny"}
    save_checkpoint(state, path)
    assert "tt_item_order" not in settings_of(None, {"resume": path}, None)
