"""Models that a user wrote against RecBole's own interface."""

from __future__ import annotations

import pytest
from recbole.model.sequential_recommender import GRU4Rec

from recbole_compress.config.model_names import find_model
from recbole_compress.errors import ConfigError
from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.quantize import quantize_checkpoint
from recbole_compress.quick_start.quick_start import run_recbole_compress
from tests.conftest import SEQUENCES, write_interactions


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
    quantize = ["quantize", str(checkpoint), "--recipe=ptq", "--table-bits=4", "-o", "small.pth"]
    assert main([*quantize, named]) == 0
    assert main(["evaluate", "small.pth", named, data]) == 0
    assert main(["export", "small.pth", "-o", "m.onnx", named, data]) == 0
    assert main([f"--resume={checkpoint}", named, "--epochs=2", data]) == 0
    assert "2 epochs" in capsys.readouterr().err


def test_a_checkpoint_of_an_unknown_class_says_how_to_name_it(in_tmp, capsys):
    settings = {**SETTINGS, "data_path": write_interactions(in_tmp, "tiny", SEQUENCES)}
    checkpoint = run_recbole_compress(MyRec, "tiny", config_dict=settings)["checkpoint"]
    assert main(["quantize", checkpoint, "--recipe=ptq", "-o", "small.pth"]) == 2
    assert "a class of yours is --model=MODULE:MyRec" in capsys.readouterr().err
    assert quantize_checkpoint(checkpoint, "small.pth", model=MyRec, quantization_recipe="ptq")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:Rec", "cannot be imported"),
        ("of_plain:Other", "cannot be imported"),
        (":Rec", "cannot be imported"),
        ("of_plain:NoModel", "is no class of a SequentialRecommender"),
        ("recbole.model.sequential_recommender:SASRec", "there is a SASRec already"),
    ],
)
def test_what_is_no_model_of_ones_own_is_refused(module, name, message):
    module("Plain")
    with pytest.raises(ConfigError, match=message):
        find_model(name)
