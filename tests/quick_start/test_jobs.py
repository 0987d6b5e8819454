"""The command line, as a user types it: our models, RecBole's own, and every way to go wrong."""

from __future__ import annotations

import glob
import importlib
import json
import os
import re
import subprocess
import sys

import pytest

from recbole_compress._version import __version__
from recbole_compress.artifact.command import OPTIONS as OF_RECOMMEND
from recbole_compress.data.loaders import split_of
from recbole_compress.demo.site import OPTIONS as OF_DEMO
from recbole_compress.quick_start.command_line import COMMANDS, main
from recbole_compress.quick_start.export import OPTIONS as OF_EXPORT
from recbole_compress.quick_start.quantize import OPTIONS as OF_QUANTIZE
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.trainers.safe_trainer import SafeTrainer
from tests.conftest import write_interactions
from tests.refusals import refusal

SEQUENCES = [[f"i{(u * 7 + s * s) % 41}" for s in range(4 + u % 9)] for u in range(60)]
SCRIPT = os.path.join(os.path.dirname(__file__), "..", "..", "run_recbole_compress.py")
QUICK = ["--epochs=1", "--MAX_ITEM_LIST_LENGTH=6", "--show_progress=False", "--threads=1"]


@pytest.fixture
def arguments(in_tmp):
    path = write_interactions(in_tmp, "tiny", SEQUENCES)
    (in_tmp / "tiny.yaml").write_text("load_col: {inter: [user_id, item_id, timestamp]}\n")
    return ["--dataset=tiny", f"--data_path={path}", "--config_files=tiny.yaml", *QUICK]


@pytest.mark.parametrize(
    "model",
    ["CpRecNextItNet", "CpRecGRU4Rec", "CpRecSASRec", "TTSASRec", "SASRec", "GRU4Rec", "NextItNet"],
)
def test_ours_and_stock_models_give_the_same_report(arguments, model, capsys):
    assert main([f"--model={model}", *arguments, "--card_path=card.json"]) == 0
    with open("card.json") as file:
        card = json.load(file)
    assert card["model"] == model
    assert card["parameters"]["total"] > 0
    assert set(card["metrics"]["test"]) == set(card["metrics"]["valid"])
    assert card["latency_ms"]["p50"] > 0
    assert card["compression_ratio"]["untied"] > 0
    assert os.path.exists(card["files"]["checkpoint"])


@pytest.mark.parametrize("mode", ["full", "uni20", "pop20"])
def test_every_evaluation_mode_of_recbole(arguments, mode):
    eval_args = (
        f"--eval_args={{'mode': '{mode}', 'order': 'TO', 'split': {{'RS': [0.6, 0.2, 0.2]}}}}"
    )
    assert main(["--model=CpRecNextItNet", *arguments, eval_args, "--card_path=card.json"]) == 0
    with open("card.json") as file:
        assert 0 <= json.load(file)["metrics"]["test"]["ndcg@10"] <= 1


def test_more_recommendations_than_items_are_refused_before_training(arguments, capsys):
    assert main(["--model=CpRecNextItNet", *arguments, "--topk=[10,50]"]) == 2
    assert "topk=[10, 50]: tiny has 41 items" in capsys.readouterr().err


def test_a_setting_of_a_choice_that_was_not_taken(arguments, capsys):
    command = ["--model=CpRecNextItNet", *arguments, "--n_item_blocks=2"]
    assert main([*command, "--tt_ratio=30", "--embedding_size=8"]) == 0
    said = capsys.readouterr().err
    assert "tt_ratio=30 is not read by these choices: item_embedding=blockwise" in said
    assert "n_item_blocks=2 is not read" not in said
    assert "embedding_size=8 is not read" not in said
    assert "MAX_ITEM_LIST_LENGTH=6 is not read" not in said  # every data set reads it
    assert main([*command, "--item_embedding=tensor_train", "--item_head=tied"]) == 0
    assert "n_item_blocks=2 is not read" in capsys.readouterr().err


def test_settings_that_only_recboles_models_or_metrics_heed(arguments, capsys):
    unread = ["--transform=inverse_itemseq", "--valid_metric_bigger=False", "--kd_temperature=2.0"]
    assert main(["--model=CpRecNextItNet", *arguments, *unread]) == 0
    said = capsys.readouterr().err
    assert "transform=inverse_itemseq is not read: only models of RecBole do" in said
    assert "kd_temperature=2.0 is not read: recipe=cross_entropy has no teacher" in said
    assert "valid_metric_bigger=False is not read: MRR@10 is better the larger it is" in said


@pytest.mark.parametrize("epoch", [0, 1])
def test_an_interrupted_run_says_how_to_go_on(arguments, capsys, monkeypatch, epoch):
    train_epoch = SafeTrainer._train_epoch

    def interrupted(self, train_data, number, *args, **kwargs):
        if number == epoch:
            raise KeyboardInterrupt
        return train_epoch(self, train_data, number, *args, **kwargs)

    command = ["--model=CpRecNextItNet", *arguments[: -len(QUICK)], "--epochs=2", *QUICK[1:]]
    with monkeypatch.context() as patch:
        patch.setattr(SafeTrainer, "_train_epoch", interrupted)
        assert main(command) == 130
    advice = capsys.readouterr().err.splitlines()[-1]
    saved = glob.glob("saved/*.pth")
    more = [f"--resume={path}" for path in saved]
    assert len(more) == epoch
    assert advice == " and ".join(["interrupted; go on with the same command", *more])
    assert main([*command, *more]) == 0


def test_every_command_is_there():
    for command in COMMANDS.values():
        assert callable(getattr(importlib.import_module(command.module), command.function))


@pytest.mark.parametrize(
    "command, module, extra",
    [
        ("recommend", "artifact.command", "runtime"),
        ("demo", "demo.site", "export"),
        ("evaluate", "artifact.session", "runtime"),
        ("export", "export.writing", "export"),
    ],
)
def test_what_is_missing_is_named(monkeypatch, capsys, command, module, extra):
    monkeypatch.setitem(sys.modules, f"recbole_compress.{module}", None)
    assert f"{module} is missing: pip install 'recbole-compress[{extra}]'" in refusal(
        capsys, [command, "m.onnx"]
    )


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("quantize", OF_QUANTIZE),
        ("export", (*OF_EXPORT, "exclude_history")),
        ("recommend", OF_RECOMMEND),
        ("demo", OF_DEMO),
    ],
)
def test_help_names_every_option(command, options, capsys):
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in options if f"--{name.replace('_', '-')}" not in shown] == []


def test_help_of_every_command(capsys):
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        said = capsys.readouterr().out
        assert f"{command}: " in said and said.count("recbole-compress ") > 1
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_the_script_runs_from_another_folder(arguments):
    shown = [a for a in arguments if a != "--show_progress=False"]
    assert shown != arguments
    run = subprocess.run(
        [sys.executable, SCRIPT, "--model=CpRecNextItNet", *shown, "--dilations=[1,4]"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "ndcg@10" in run.stdout + run.stderr
    assert "\r" not in run.stderr  # no progress bars where nobody looks
    assert len(glob.glob("saved/*.card.json")) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("--lerning_rate=0.1", "learning_rate"),
        ("--learning_rate=fast", "learning_rate"),
        ("--item_head=two_levels", "two_level"),
        ("--embedding_size=0", "embedding_size|embedding_dim"),
        ("--item_block_cutoffs=[30,5]", "must ascend"),
        ("--item_block_cutoffs=[3000]", "leave items on both sides"),
        ("--n_item_blocks=500", "n_item_blocks=500"),
        ("--block_attenuation=0.1", "block_attenuation=0.1"),
        ("--window_stride=7", "window_stride=7"),
        ("--resume=nothing.pth", "no such checkpoint"),
        ("--data_path=nowhere", "no folder"),
        ("--TIME_FIELD=when", "TIME_FIELD"),
        ("--threshold={timestamp: 3}", "makes labels of 'timestamp' .TIME_FIELD. in its place"),
        ("--learner=sparse_adam", "learner='sparse_adam'"),
        ("--card_path=tiny/tiny.inter/card.json", "card_path=tiny.* is no folder"),
        ("--ranks_path=tiny", "ranks_path=tiny: is a folder"),
        ("--user_inter_num_interval=[100,inf)", "RecBole refuses .* feat is empty"),
        ("--threshold={rating: 3}", "RecBole refuses .*rating"),
        ("--alias_of_item_id=[nofield]", "RecBole refuses .* there is no 'nofield'"),
        ("--transform=flip_itemseq", "transform='flip_itemseq': did you mean"),
        ("--transform=crop_itemseq", "transform='crop_itemseq': needs eta"),
        ("--encoding=foo", "RecBole refuses .*unknown encoding: foo"),
        ("--field_separator=", "field_separator='': expected a character"),
        ("--load_col={inter: null}", "RecBole refuses to read it"),
        ("--benchmark_filename=[train,test]", "benchmark_filename=.*: expected three names"),
        ("--clip_grad_norm={max: 5}", "clip_grad_norm: unknown key 'max'"),
        ("--clip_grad_norm={max_norm: five}", "max_norm='five': expected a number above 0"),
        ("--clip_grad_norm={norm_type: 2}", "max_norm=None: expected"),
        ("epochs=5", "epochs=5"),
    ],
)
def test_bad_input_gets_one_line_and_a_non_zero_exit(arguments, wrong, message, capsys):
    key = wrong.split("=")[0]
    kept = [a for a in arguments if not a.startswith(key + "=")]
    assert main(["--model=CpRecNextItNet", *kept, wrong]) != 0
    error = capsys.readouterr().err
    (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
    assert re.search(message, line), line
    assert glob.glob("saved/*.pth") == []


def test_what_a_model_of_recboles_refuses_is_one_line(arguments, capsys):
    assert main(["--model=SASRec", *arguments, "--n_heads=3"]) == 2
    error = capsys.readouterr().err
    assert "error: model=SASRec: cannot be made with these settings: The hidden size" in error


@pytest.mark.parametrize(
    ("model", "wrong", "message"),
    [
        ("SASRec", "--TIME_FIELD=when", "no column 'when' (TIME_FIELD) was loaded"),
        ("SASRecF", "--selected_features=[rating]", "'rating' is no loaded column of the items"),
    ],
)
def test_columns_that_a_model_of_recboles_has_not_are_one_line(
    arguments, capsys, model, wrong, message
):
    columns = "--load_col={inter: [user_id, item_id, timestamp]}"
    kept = [a for a in arguments if not a.startswith("--load_col")]
    assert main([f"--model={model}", *kept, columns, wrong]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert message in line


def test_unknown_model_and_data_set(arguments, capsys):
    assert main(["--model=CpRecNextNet", *arguments]) == 2
    assert "CpRecNextItNet" in capsys.readouterr().err
    assert main(["--model=CpRecNextItNet"]) == 2
    assert "dataset" in capsys.readouterr().err
    assert main(["trian"]) == 2
    assert "run" in capsys.readouterr().err


def test_help_needs_nothing(capsys):
    assert main([]) == 0
    said = capsys.readouterr().out
    assert "--model=CpRecNextItNet" in said
    assert all(command.about in said for command in COMMANDS.values())


def test_command_line_values_are_never_evaluated(arguments, capsys):
    name = "__import__('os').mkdir('pwned')"
    assert main(["--model=CpRecNextItNet", *arguments, f"--card_path={name}"]) == 0
    assert os.path.exists(name) and not os.path.exists("pwned")


def test_evaluation_equals_recboles_own_to_the_last_digit(in_tmp):
    """ml-100k, one model: RecBole's trainer and collector against ours, same checkpoint."""
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer

    from recbole_compress.config import Config
    from recbole_compress.trainers import CompressTrainer

    settings = {
        "epochs": 1,
        "state": "ERROR",
        "metrics": ["Recall", "MRR", "NDCG", "Hit", "Precision", "MAP"],
        "topk": [5, 10],
        "metric_decimal_place": 10,
        "show_progress": False,
        "item_head": "tied",
    }
    result = run_recbole_compress("CpRecNextItNet", "ml-100k", config_dict=dict(settings))
    config = Config("CpRecNextItNet", "ml-100k", config_dict=dict(settings))
    train, valid, test = data_preparation(config, create_dataset(config))
    from recbole.utils import get_model

    from recbole_compress.trainers.checkpoint import load_checkpoint

    model = get_model("CpRecNextItNet")(config, split_of(train))
    model.load_state_dict(load_checkpoint(result["checkpoint"])["state_dict"])
    for data in (valid, test):
        theirs = Trainer(config, model).evaluate(data, load_best_model=False)
        ours = CompressTrainer(config, model).evaluate(data, load_best_model=False)
        assert ours == theirs
    assert result["test_result"] == theirs


def test_anomaly_mode_is_off_during_stock_training(arguments, monkeypatch):
    import torch
    from recbole.model.sequential_recommender import GRU4Rec

    seen = []
    loss = GRU4Rec.calculate_loss

    def calculate_loss(self, interaction):
        seen.append(torch.is_anomaly_enabled())
        return loss(self, interaction)

    monkeypatch.setattr(GRU4Rec, "calculate_loss", calculate_loss)
    assert main(["--model=GRU4Rec", *arguments]) == 0
    assert seen
    assert not any(seen)
