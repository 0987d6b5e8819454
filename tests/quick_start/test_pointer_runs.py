"""Models with a pointer through every command, on sessions that come back to their items."""

from __future__ import annotations

import json

import pytest
import torch

from recbole_compress.artifact import Recommender
from recbole_compress.errors import ConfigError
from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.from_checkpoint import model_alone
from recbole_compress.quick_start.quick_start import run_recbole_compress
from tests.conftest import SEQUENCES, write_interactions
from tests.quantization.models import OURS
from tests.quick_start.conftest import QUICK

# Three items in turn, different ones for everybody: only the place of an item says what is next.
TURNS = [[f"i{(u * 7 + s % 3 * 11) % 61}" for s in range(8)] for u in range(120)]
POINTER = {"repeats": "pointer"}


@pytest.fixture
def settings(in_tmp):
    return {**QUICK, "data_path": write_interactions(in_tmp, "turns", TURNS), "log_wandb": False}


def run(settings, model="CpRecNextItNet", **more):
    return run_recbole_compress(model, "turns", config_dict={**settings, **OURS[model], **more})


def test_it_learns_what_comes_back(settings):
    trained = {"epochs": 12, "learning_rate": 0.03, "train_batch_size": 64}
    hit = run(settings, **trained, **POINTER)["test_result"]["hit@10"]
    first = run(settings, **trained, **POINTER, topk=[1], metrics=["Hit"], valid_metric="Hit@1")
    assert hit == 1 and first["test_result"]["hit@1"] > 0.9
    pointer = model_alone(first["checkpoint"]).model.pointer
    assert int(pointer.age[:3].argmax()) == 2  # the third newest


@pytest.mark.slow
def test_every_command_takes_it(settings, in_tmp, capsys):
    checkpoint = run(settings, **POINTER)["checkpoint"]
    card = json.loads((in_tmp / checkpoint.replace(".pth", ".card.json")).read_text())
    assert card["choices"]["repeats"] == "pointer"
    data = f"--data_path={settings['data_path']}"
    quantize = ["quantize", checkpoint, "--table-bits=4", "--weight-bits=4", "-o", "small.pth"]
    quick = ["--df-sequences=40", "--df-epochs=1", "--df-valid-sequences=20"]
    for command in (
        [*quantize, "--recipe=ptq"],
        [*quantize, "--recipe=self_sample", *quick],
        ["evaluate", "small.pth", data],
        ["export", "small.pth", data, "-o", "model.onnx"],
        ["evaluate", "model.onnx", data],
        [f"--resume={checkpoint}", "--epochs=2", data],
    ):
        assert main(command) == 0, capsys.readouterr().err
    torchs, files = ("small.evaluation", "model.onnx.evaluation")
    of_torch = json.loads((in_tmp / f"{torchs}.card.json").read_text())["metrics"]["test"]
    of_file = json.loads((in_tmp / f"{files}.card.json").read_text())["metrics"]["test"]
    assert of_file == pytest.approx(of_torch, abs=0.02)
    assert len(Recommender("model.onnx").recommend(["i0", "i11"], k=5)) == 5


@pytest.mark.parametrize("student", ["none", "pointer"])
@pytest.mark.parametrize("teacher", ["none", "pointer"])
def test_either_teaches_the_other(settings, student, teacher):
    recipe = {
        "recipe": "distillation",
        "kd_contrastive_weight": 0.2,
        "kd_predictive_weight": 0.1,
        "teacher": {"repeats": teacher},
    }
    result = run(settings, "TTSASRec", **recipe, repeats=student)
    assert result["card"]["choices"]["repeats"] == student
    assert 0 <= result["test_result"]["ndcg@10"] <= 1


@pytest.mark.parametrize("student", ["none", "pointer"])
def test_a_student_takes_over_what_both_have(settings, student):
    untied = {"item_embedding": "dense", "item_head": "untied", "layer_sharing": "none"}
    begins = {"recipe": "distillation", "kd_start": "teacher", "learning_rate": 1e-12, **untied}
    teacher = {**untied, "repeats": {"none": "pointer", "pointer": "none"}[student]}
    result = run(settings, **begins, repeats=student, teacher={**teacher, "learning_rate": 0.01})
    taught, teaches = (
        model_alone(path).model.item_head.of_vectors.weight
        for path in (result["checkpoint"], result["card"]["files"]["teacher"])
    )
    torch.testing.assert_close(taught, teaches, rtol=1e-5, atol=1e-6)


def test_what_recommends_other_items_has_none(settings):
    with pytest.raises(ConfigError, match="repeats=pointer: recipe=transfer recommends"):
        run(settings, recipe="transfer", source_dataset="other", **POINTER)


def test_items_that_never_come_back_are_pushed_down(in_tmp):
    path = write_interactions(in_tmp, "tiny", [list(dict.fromkeys(s)) for s in SEQUENCES])
    given = {**QUICK, **OURS["CpRecNextItNet"], "data_path": path, "log_wandb": False}
    given |= {"epochs": 15, "learning_rate": 0.03, **POINTER}
    checkpoint = run_recbole_compress("CpRecNextItNet", "tiny", config_dict=given)["checkpoint"]
    model = model_alone(checkpoint).model
    item_seq = torch.tensor([[3, 9, 20, 4, 7, 11]])
    with torch.no_grad():
        scores = model.score(item_seq, torch.tensor([6]))[0]
    assert scores[item_seq[0]].exp().sum() < 0.1
