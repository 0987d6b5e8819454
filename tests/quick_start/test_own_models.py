"""Models that a user wrote against RecBole's own interface."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from recbole.model.sequential_recommender import DIEN, GRU4Rec, SASRec

from recbole_compress.artifact import Recommender
from recbole_compress.config import model_names
from recbole_compress.config.model_names import find_model
from recbole_compress.errors import ConfigError
from recbole_compress.models import CpRecNextItNet
from recbole_compress.quick_start.artifact_subject import config_of
from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.evaluate import evaluate_file
from recbole_compress.quick_start.export import export_checkpoint
from recbole_compress.quick_start.quantize import quantize_checkpoint
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.trainers.checkpoint import load_checkpoint, save_checkpoint
from tests.conftest import SEQUENCES, write_interactions
from tests.quantization.models import OURS
from tests.quick_start.conftest import QUICK


class MyRec(GRU4Rec):
    """Reads a target per row, as RecBole's data set gives them."""

    def calculate_loss(self, interaction):
        assert interaction[self.ITEM_ID].shape == interaction[self.USER_ID].shape
        return super().calculate_loss(interaction)


SETTINGS = {
    "train_neg_sample_args": None,
    "loss_type": "CE",
    "embedding_size": 8,
    "hidden_size": 8,
    "num_layers": 1,
    "dropout_prob": 0.1,
    "epochs": 1,
    "use_gpu": False,
    "show_progress": False,
}


def test_a_class_of_ones_own_is_trained_as_recbole_trains_it(in_tmp):
    settings = {**SETTINGS, "data_path": write_interactions(in_tmp, "tiny", SEQUENCES)}
    result = run_recbole_compress(MyRec, "tiny", config_dict=settings)
    assert result["card"]["model"] == "MyRec"
    assert 0 <= result["test_result"]["ndcg@10"] <= 1


class Wider(CpRecNextItNet):
    """Brings no settings of its own."""


class Renamed(SASRec):
    """As above, of a model of RecBole's."""


class Interested(DIEN):
    """Of one that has a data set of its own."""


@pytest.mark.parametrize("model_class", [Wider, Renamed, Interested])
def test_a_class_derived_from_a_known_model_has_its_settings(in_tmp, model_class):
    settings = {
        "data_path": write_interactions(in_tmp, "tiny", SEQUENCES),
        "epochs": 1,
        "train_batch_size": 16,  # targets, or rows, as the parent counts them
        "MAX_ITEM_LIST_LENGTH": 5,
        "use_gpu": False,
        "show_progress": False,
    }
    result = run_recbole_compress(model_class, "tiny", config_dict=settings)
    parent = model_class.__base__.__name__
    same = run_recbole_compress(parent, "tiny", config_dict=settings)
    assert result["card"]["model"] == model_class.__name__
    assert result["card"]["parameters"] == same["card"]["parameters"]
    assert result["test_result"] == same["test_result"]
    with pytest.raises(ConfigError, match="n_headz"):
        run_recbole_compress(model_class, "tiny", config_dict={**settings, "n_headz": 2})


SOURCE = """
from recbole.model.sequential_recommender import GRU4Rec

class {name}(GRU4Rec):
    pass

class NoModel:
    pass
"""


@pytest.fixture
def module(in_tmp, monkeypatch):
    """Writes a module with a model into the current folder, and names the model."""
    monkeypatch.syspath_prepend(str(in_tmp))

    def written(name: str) -> str:
        (in_tmp / f"of_{name.lower()}.py").write_text(SOURCE.format(name=name))
        return f"of_{name.lower()}:{name}"

    return written


def test_a_class_named_by_its_module_goes_through_every_command(in_tmp, module, capsys):
    named = f"--model={module('Plain')}"
    data = f"--data_path={write_interactions(in_tmp, 'tiny', SEQUENCES)}"
    settings = [f"--{key}={value}" for key, value in SETTINGS.items()]
    assert main([named, "--dataset=tiny", data, *settings]) == 0
    [checkpoint] = (in_tmp / "saved").glob("Plain-*.pth")
    model_names._OF_THE_USER.clear()  # as in another process
    quantize = ["quantize", str(checkpoint), "--recipe=ptq", "--table-bits=4", "-o", "small.pth"]
    assert main(quantize) == 2
    assert "add --model_classes=MODULE:Plain" in capsys.readouterr().err
    for argument in (named, named.replace("--model=", "--model_classes=")):
        for command in (
            quantize,
            ["evaluate", "small.pth", data],
            ["export", "small.pth", "-o", "m.onnx", data],
            [f"--resume={checkpoint}", "--epochs=2", data],
        ):
            model_names._OF_THE_USER.clear()
            assert main([*command, argument]) == 0
    other = module("Other")
    assert main([*quantize, f"--model={other}"]) == 2
    assert f"is of Plain, not of {other}" in capsys.readouterr().err


def test_a_class_object_goes_through_every_function(in_tmp):
    settings = {**SETTINGS, "data_path": write_interactions(in_tmp, "tiny", SEQUENCES)}
    checkpoint = run_recbole_compress(MyRec, "tiny", config_dict=settings)["checkpoint"]
    small = quantize_checkpoint(checkpoint, "small.pth", model=MyRec, quantization_recipe="ptq")
    assert (
        evaluate_file(small.path, "small.evaluation.card.json", model=MyRec)["model"] == "DFQMyRec"
    )
    assert export_checkpoint(Path(small.path), Path("m.onnx"), model_classes=[MyRec])
    assert Recommender("m.onnx").info["metrics"] is not None  # of the evaluation


def test_a_teacher_of_ones_own_class_is_found_again(in_tmp, module):
    teacher = module("Plain")
    settings = {
        **QUICK,
        **OURS["TTSASRec"],
        "data_path": write_interactions(in_tmp, "tiny", SEQUENCES),
        "recipe": "distillation",
    }
    wide = {"model": teacher, **{k: SETTINGS[k] for k in SETTINGS if k not in QUICK}}
    first = run_recbole_compress("TTSASRec", "tiny", config_dict={**settings, "teacher": wide})
    again = {"resume": first["checkpoint"], "epochs": 2}
    model_names._OF_THE_USER.clear()
    with pytest.raises(ConfigError, match="add --model_classes=MODULE:Plain"):
        run_recbole_compress(config_dict=again)
    run_recbole_compress(config_dict={**again, "model_classes": teacher})
    model_names._OF_THE_USER.clear()
    [path] = (in_tmp / "saved" / "teacher").glob("Plain-*.pth")
    given = {"teacher_path": str(path), "model_classes": [teacher]}
    run_recbole_compress("TTSASRec", "tiny", config_dict={**settings, **given})


def test_no_file_has_a_module_imported(in_tmp, module):
    settings = {**SETTINGS, "data_path": write_interactions(in_tmp, "tiny", SEQUENCES)}
    checkpoint = run_recbole_compress(module("Plain"), "tiny", config_dict=settings)["checkpoint"]
    state = load_checkpoint(checkpoint)
    state["config"]["model"] = "of_evil:Plain"
    state["config"].external_config_dict["model_classes"] = ["of_evil:Plain"]
    save_checkpoint(state, "forged.pth")
    (in_tmp / "of_evil.py").write_text("raise SystemExit('imported')\n")
    model_names._OF_THE_USER.clear()
    with pytest.raises(ConfigError, match="add --model_classes=MODULE:Plain"):
        evaluate_file("forged.pth")
    with pytest.raises(ConfigError, match="add --model_classes=MODULE:Plain"):
        run_recbole_compress(config_dict={"resume": "forged.pth"})
    for forged in ({"model": "of_evil:Plain"}, {"model_classes": ["of_evil:Plain"]}):
        said = {"model": "Plain", "dataset": "tiny", **forged}
        file = SimpleNamespace(path="m.onnx", has_all_scores=True, said={"configuration": said}.get)
        with pytest.raises(ConfigError, match="add --model_classes=MODULE:Plain"):
            config_of(file, {})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:Rec", "ModuleNotFoundError"),
        ("of_plain:Other", "cannot be imported"),
        ("of_broken:Rec", "of_broken:Rec': cannot be imported .SyntaxError"),
        ("of_plain.py:Plain", "write of_plain:Plain"),
        (":Rec", "cannot be imported"),
        ("of_plain:NoModel", "expected a class of RecBole's SequentialRecommender"),
        ("recbole.model.sequential_recommender:SASRec", "there is a model SASRec already"),
        ("of_plain.Plain", "add --model_classes=of_plain:Plain"),
    ],
)
def test_what_is_no_model_of_ones_own_is_refused(in_tmp, module, name, message):
    module("Plain")
    (in_tmp / "of_broken.py").write_text("class Rec(\n")
    with pytest.raises(ConfigError, match=message):
        find_model(name)
