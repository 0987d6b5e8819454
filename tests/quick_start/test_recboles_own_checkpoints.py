"""What RecBole's own ``Trainer`` saved is a checkpoint here, too."""

from __future__ import annotations

import json
import pickletools
import zipfile
from pathlib import Path

import pytest
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer

from recbole_compress.artifact import Recommender
from recbole_compress.quick_start.command_line import main
from tests.conftest import SEQUENCES, write_interactions


@pytest.fixture
def saved(in_tmp):
    settings = {
        "data_path": write_interactions(in_tmp, "tiny", SEQUENCES),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "train_neg_sample_args": None,
        "epochs": 1,
        "hidden_size": 8,
        "inner_size": 8,
        "use_gpu": False,
        "show_progress": False,
    }
    config = Config("SASRec", "tiny", config_dict=settings)
    train, valid, test = data_preparation(config, create_dataset(config))
    trainer = Trainer(config, SASRec(config, train.dataset))
    trainer.fit(train, valid, verbose=False)
    result = trainer.evaluate(test, load_best_model=False)
    (path,) = (str(path) for path in Path("saved").glob("SASRec*.pth"))
    with zipfile.ZipFile(path) as file:
        (pickled,) = (name for name in file.namelist() if name.endswith("data.pkl"))
        protocol = next(pickletools.genops(file.read(pickled)))[1]
    assert protocol == 4  # as RecBole writes them, which a weights-only load refuses
    return path, result, settings["data_path"]


@pytest.mark.filterwarnings("ignore::UserWarning:recbole", "ignore::FutureWarning:recbole")
def test_it_is_evaluated_quantized_and_exported(saved, capsys):
    path, result, folder = saved
    here = f"--data_path={folder}"
    assert main(["evaluate", path, "-o", "card.json", here]) == 0, capsys.readouterr().err
    card = json.loads(Path("card.json").read_text())
    assert card["metrics"]["test"] == pytest.approx(dict(result), abs=1e-4)

    quantize = ["quantize", path, "--recipe=ptq", "--weight-bits=4", "--table-bits=4"]
    assert main([*quantize, "-o", "q.pth"]) == 0, capsys.readouterr().err
    assert Path("q.pth").stat().st_size < Path(path).stat().st_size / 2
    assert main(["export", path, "-o", "m.onnx", here]) == 0, capsys.readouterr().err
    assert len(Recommender("m.onnx").recommend([str(SEQUENCES[0][0])], k=3)) == 3
