"""A training killed in the middle of an epoch ends where an uninterrupted one does."""

from __future__ import annotations

import glob
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recbole_compress.data import item_vectors
from recbole_compress.errors import CheckpointError, TrainingError
from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.evaluate import evaluate_file
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.quick_start.restored import restored_model
from recbole_compress.trainers.checkpoint import load_checkpoint
from tests.conftest import SEQUENCES, write_interactions
from tests.cut_runs import assert_same_weights, killing
from tests.marks import slow

SETTINGS = {
    "epochs": 4,
    "stopping_step": 10,
    "MAX_ITEM_LIST_LENGTH": 6,
    "train_batch_size": 64,
    "state": "ERROR",
    "threads": 1,
    "show_progress": False,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
}
MODELS = {
    "CpRecNextItNet": {"embedding_size": 8, "dilations": [1], "embedding_dropout_prob": 0.3},
    "SASRec": {"hidden_size": 8, "inner_size": 8},  # RecBole's own, through RecBole's loaders
}
TRAIN = """
from recbole_compress.quick_start import quick_start
quick_start.run_recbole_compress({model!r}, "tiny", config_dict={settings!r})
"""


def settings_for(model, folder, **more):
    path = write_interactions(folder, "tiny", SEQUENCES)
    return {**SETTINGS, **MODELS[model], "data_path": path, **more}


@pytest.mark.parametrize("model", ["CpRecNextItNet", slow("SASRec")])
def test_killed_run_ends_where_an_uninterrupted_one_does(in_tmp, model):
    settings = settings_for(model, in_tmp, checkpoint_dir="whole")
    whole = run_recbole_compress(model, "tiny", config_dict=dict(settings))

    settings["checkpoint_dir"] = "killed"
    steps = 3 if model == "SASRec" else 12
    script = killing(model, 2 * steps + 2, TRAIN.format(model=model, settings=settings))
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    (checkpoint,) = (p for p in glob.glob("killed/*.pth") if not p.endswith(".resume.pth"))
    reached = max(load_checkpoint(p)["epoch"] for p in glob.glob("killed/*.pth"))
    assert 0 <= reached < 3

    resumed = run_recbole_compress(command_line=[f"--resume={checkpoint}"])

    assert resumed["best_valid_result"] == whole["best_valid_result"]
    assert resumed["test_result"] == whole["test_result"]
    ends = [load_checkpoint(result["checkpoint"]) for result in (whole, resumed)]
    assert ends[0]["epoch"] == ends[1]["epoch"]
    assert_same_weights(whole["checkpoint"], resumed["checkpoint"])


def test_feature_models_of_recbole_are_saved_and_restored(in_tmp, trainers):
    """Their embedding layers, which they name among their other parameters, hold the data set."""
    settings = settings_for("SASRec", in_tmp, epochs=1, selected_features=["class"])
    items = sorted({item for sequence in SEQUENCES for item in sequence})
    rows = [f"{item}\tc{at % 3} c{at % 5}" for at, item in enumerate(items)]
    (in_tmp / "tiny" / "tiny.item").write_text(
        "\n".join(["item_id:token\tclass:token_seq", *rows]) + "\n"
    )
    settings["load_col"] = {**SETTINGS["load_col"], "item": ["item_id", "class"]}
    first = run_recbole_compress("SASRecF", "tiny", config_dict=dict(settings))
    path = first["checkpoint"]
    state = load_checkpoint(path)
    assert state["other_parameter"] == {}
    assert any(name.startswith("feature_embed_layer.") for name in state["state_dict"])

    _, model, requests = restored_model(path)
    (trained,) = trainers
    scores = [
        network.eval().full_sort_predict(
            {network.ITEM_SEQ: requests[0], network.ITEM_SEQ_LEN: requests[1]}
        )
        for network in (trained.model, model)
    ]
    torch.testing.assert_close(*scores, rtol=0, atol=0)
    assert main(["evaluate", path, "-o", "evaluated.json"]) == 0
    with open("evaluated.json") as file:
        assert json.load(file)["metrics"]["test"] == first["card"]["metrics"]["test"]

    settings |= {"epochs": 2, "checkpoint_dir": "whole"}
    whole = run_recbole_compress("SASRecF", "tiny", config_dict=dict(settings))
    resumed = run_recbole_compress(config_dict={"resume": path, "epochs": 2})
    assert resumed["test_result"] == whole["test_result"]
    assert_same_weights(whole["checkpoint"], resumed["checkpoint"])


def test_a_finished_run_is_not_trained_again(in_tmp):
    settings = settings_for("CpRecNextItNet", in_tmp, epochs=2)
    first = run_recbole_compress("CpRecNextItNet", "tiny", config_dict=dict(settings))
    again = run_recbole_compress(config_dict={"resume": first["checkpoint"]})
    assert again["test_result"] == first["test_result"]
    assert glob.glob("saved/*.resume.pth") == []


@pytest.mark.parametrize("model", ["CpRecNextItNet", "SASRec"])
def test_sampled_items_are_the_same_whenever_a_model_is_evaluated(in_tmp, model):
    settings = settings_for(model, in_tmp, epochs=2, eval_args={"mode": "uni20", "order": "TO"})
    first = run_recbole_compress(model, "tiny", config_dict=settings)
    again = run_recbole_compress(config_dict={"resume": first["checkpoint"]})
    assert again["test_result"] == first["test_result"]
    assert evaluate_file(first["checkpoint"])["metrics"] == first["card"]["metrics"]


ENDS = {
    "early": {"stopping_step": 1, "learning_rate": 0.5, "epochs": 60},
    "time": {"train_time_limit": 0.5, "stopping_step": 500, "epochs": 500},
    "epochs": {"eval_step": 3, "epochs": 4},  # the last of them is after the last validation
}


@pytest.mark.parametrize("end", ENDS)
def test_a_training_that_ended_behind_its_best_epoch_is_not_taken_up(in_tmp, trainers, end):
    first = run_recbole_compress(
        "CpRecNextItNet", "tiny", config_dict=settings_for("CpRecNextItNet", in_tmp, **ENDS[end])
    )
    done = first["card"]["training"]["epochs"]
    again = run_recbole_compress(config_dict={"resume": first["checkpoint"]})
    assert [trainer.train_loss_dict for trainer in trainers[1:]] == [{}]
    assert again["card"]["training"]["epochs"] == done
    assert again["test_result"] == first["test_result"]
    assert again["best_valid_result"] == first["best_valid_result"]


@pytest.mark.parametrize("more", [{"stopping_step": 3}, {"epochs": 61}])
def test_a_training_that_stopped_early_goes_on_from_its_best_epoch_if_told_to(
    in_tmp, trainers, more
):
    settings = settings_for("CpRecNextItNet", in_tmp, **ENDS["early"])
    path = run_recbole_compress("CpRecNextItNet", "tiny", config_dict=settings)["checkpoint"]
    best = load_checkpoint(path)["epoch"]
    run_recbole_compress(config_dict={"resume": path, **more})
    begun_at = min(trainers[1].train_loss_dict, default=None)
    assert begun_at == (best + 1 if "stopping_step" in more else None)


def test_the_latest_epoch_alone_is_no_training_to_go_on_with(in_tmp):
    settings = settings_for("CpRecNextItNet", in_tmp, epochs=1)
    path = run_recbole_compress("CpRecNextItNet", "tiny", config_dict=settings)["checkpoint"]
    alone = Path(path.replace(".pth", ".resume.pth"))
    Path(path).rename(alone)
    with pytest.raises(CheckpointError, match="its best epoch, has to lie beside it"):
        run_recbole_compress(config_dict={"resume": str(alone), "epochs": 2})
    assert alone.exists()


def test_what_is_resumed_steps_as_it_is_told_now(in_tmp, trainers):
    settings = settings_for("CpRecNextItNet", in_tmp, epochs=1)
    path = run_recbole_compress("CpRecNextItNet", "tiny", config_dict=settings)["checkpoint"]
    with pytest.raises(CheckpointError, match="trained with learner='adam'"):
        run_recbole_compress(config_dict={"resume": path, "epochs": 2, "learner": "sgd"})
    run_recbole_compress(config_dict={"resume": path, "epochs": 2, "learning_rate": 0.5})
    assert {group["lr"] for group in trainers[-1].optimizer.param_groups} == {0.5}


def test_checkpoint_of_another_data_set_or_shape_is_refused(in_tmp):
    settings = settings_for("CpRecNextItNet", in_tmp, epochs=1)
    first = run_recbole_compress("CpRecNextItNet", "tiny", config_dict=dict(settings))
    before = Path(first["checkpoint"]).read_bytes()
    write_interactions(in_tmp, "other", [[item + "x" for item in s] for s in SEQUENCES])
    with pytest.raises(CheckpointError, match="made for the items of data set 'tiny'"):
        run_recbole_compress(
            "CpRecNextItNet", "other", config_dict={**settings, "resume": first["checkpoint"]}
        )
    with pytest.raises(CheckpointError, match="its weights do not fit this model"):
        run_recbole_compress(config_dict={"resume": first["checkpoint"], "embedding_size": 4})
    assert Path(first["checkpoint"]).read_bytes() == before


def test_a_checkpoint_trained_on_other_rows_is_no_beginning_and_told_of(in_tmp, capsys):
    settings = settings_for("CpRecNextItNet", in_tmp, epochs=1, state="WARNING")
    path = run_recbole_compress("CpRecNextItNet", "tiny", config_dict=settings)["checkpoint"]
    evaluate_file(path)
    assert "trained on other rows" not in capsys.readouterr().err
    other = {"eval_args": {"split": {"LS": "valid_only"}, "order": "TO"}}
    with pytest.raises(CheckpointError, match=f"{path}: trained on other rows than those of"):
        run_recbole_compress(config_dict={"resume": path, "epochs": 2, **other})
    evaluate_file(path, **other)
    assert f"{path}: trained on other rows" in capsys.readouterr().err


def test_nan_loss_names_the_place_and_keeps_the_best(in_tmp, monkeypatch):
    from recbole_compress.models import CpRecNextItNet

    loss, calls = CpRecNextItNet.calculate_loss, []

    def turns_bad(self, interaction):
        calls.append(1)
        return loss(self, interaction) * (float("nan") if len(calls) > 20 else 1.0)

    monkeypatch.setattr(CpRecNextItNet, "calculate_loss", turns_bad)
    settings = settings_for("CpRecNextItNet", in_tmp)
    with pytest.raises(
        TrainingError, match=r"epoch \d+, batch \d+: the training loss is nan.*holds"
    ):
        run_recbole_compress("CpRecNextItNet", "tiny", config_dict=dict(settings))
    (kept,) = (p for p in glob.glob("saved/*.pth") if not p.endswith(".resume.pth"))
    weights = load_checkpoint(kept)["state_dict"].values()
    assert all(torch.isfinite(w).all() for w in weights if w.is_floating_point())


def limited(in_tmp, **given):
    """What a run of more epochs than it has time for gives, and its evaluations."""
    settings = settings_for("CpRecNextItNet", in_tmp, epochs=500, **given)
    evaluated = []
    result = run_recbole_compress(
        "CpRecNextItNet",
        "tiny",
        config_dict=dict(settings),
        after_evaluation=lambda epoch, score: evaluated.append((epoch, score)),
    )
    return result, evaluated


def test_time_limit_ends_training_with_the_best_epoch(in_tmp):
    result, evaluated = limited(in_tmp, stopping_step=500, train_time_limit=0.5)
    scores = [score for _, score in evaluated]
    assert 1 <= len(scores) == result["card"]["training"]["epochs"] < 500
    assert result["best_valid_score"] == max(scores)


def test_time_limit_before_the_first_validation_keeps_the_latest_epoch(in_tmp, capsys):
    result, scores = limited(in_tmp, eval_step=500, train_time_limit=0.01, state="INFO")
    epochs = result["card"]["training"]["epochs"]
    assert scores == [(epochs - 1, result["best_valid_score"])] and epochs < 500
    assert load_checkpoint(result["checkpoint"])["best_valid_result"] == result["best_valid_result"]
    assert result["test_result"]
    assert f"after {epochs} epochs; going on with the latest one" in capsys.readouterr().err
    again = run_recbole_compress(config_dict={"resume": result["checkpoint"]})
    assert again["test_result"] == result["test_result"]


def test_product_codes_come_from_the_checkpoint_not_from_the_data_again(in_tmp, monkeypatch):
    settings = settings_for("CpRecNextItNet", in_tmp, item_embedding="product_quantized")
    settings |= {"item_head": "tied", "pq_splits": 4, "pq_codes": 5}
    path = run_recbole_compress("CpRecNextItNet", "tiny", config_dict=dict(settings))["checkpoint"]
    saved = load_checkpoint(path)["state_dict"]
    assert saved["item_embedding.codes"].any()

    def refuse(*args, **kwargs):
        raise AssertionError("decomposed again")

    monkeypatch.setattr(item_vectors, "randomized_svd", refuse)
    _, model, _ = restored_model(path)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, saved[name], rtol=0, atol=0)
    more = {**settings, "resume": path, "epochs": 5}
    assert run_recbole_compress("CpRecNextItNet", "tiny", config_dict=more)["checkpoint"] == path
    codes = load_checkpoint(path)["state_dict"]["item_embedding.codes"]
    assert codes.equal(saved["item_embedding.codes"])
    with pytest.raises(AssertionError, match="decomposed again"):  # a new model does need them
        run_recbole_compress("CpRecNextItNet", "tiny", config_dict=dict(settings))
