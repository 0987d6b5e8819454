"""``--model=DFQ<Model>``: trained or found, quantized without data, evaluated."""

from __future__ import annotations

import json
import os

import pytest
import torch

from recbole_compress.errors import ConfigError, QuantizationError
from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.reports.table import card_table
from recbole_compress.trainers.checkpoint import load_checkpoint
from recbole_compress.trainers.safe_trainer import SafeTrainer
from recbole_compress.trainers.self_sample_trainer import SelfSampleTrainer
from tests.conftest import SEQUENCES, write_interactions
from tests.quick_start.conftest import QUICK, SMALL

SHORT = {"df_epochs": 1, "df_sequences": 64, "df_valid_sequences": 32}


@pytest.fixture
def data(in_tmp):
    """The folder of a small data set ``tiny``."""
    return write_interactions(in_tmp, "tiny", SEQUENCES)


@pytest.fixture
def settings(trained, in_tmp):
    data = os.path.dirname(load_checkpoint(trained("SASRec"))["config"]["data_path"])
    return {**QUICK, **SMALL["SASRec"], **SHORT, "data_path": data}


def test_a_dfq_name_trains_quantizes_and_evaluates(trained, in_tmp):
    data = os.path.dirname(load_checkpoint(trained("SASRec"))["config"]["data_path"])
    settings = {**QUICK, **SMALL["SASRec"], "data_path": data, "weight_bits": 4, "table_bits": 4}
    settings |= {"df_epochs": 1, "df_sequences": 64, "df_valid_sequences": 32}
    result = run_recbole_compress("DFQSASRec", "tiny", config_dict=settings)
    card = result["card"]
    assert card["model"] == "DFQSASRec" and card["choices"]["weight_bits"] == 4
    assert card["reference_metrics"]["test"] == result["full_precision"]["card"]["metrics"]["test"]
    assert card["training"] == result["full_precision"]["card"]["training"]
    work = card["quantization"]
    assert (work["recipe"], work["passes"], work["sequences"]) == ("self_sample", 1, 64)
    assert work["seconds"] > 0
    assert "quantization   self_sample" in card_table(card) and "64 sequences" in card_table(card)
    assert set(result["test_result"]) == {
        k.lower() for k in result["full_precision"]["test_result"]
    }
    assert load_checkpoint(result["checkpoint"])["quantization"]["recipe"] == "self_sample"

    # the same from a model that is there already, at other bits
    path = result["full_precision"]["checkpoint"]
    second = run_recbole_compress(
        "DFQSASRec", "tiny", config_dict={**settings, "table_bits": 8, "full_precision_path": path}
    )
    assert second["full_precision"] is None
    assert second["card"]["choices"]["table_bits"] == 8
    assert second["card"]["training"]["epochs"] is None  # not trained in this run


def test_a_file_that_cannot_be_so_small_is_refused_before_training(data):
    settings = {**QUICK, **SMALL["GRU4Rec"], "data_path": data, "quantization_max_bytes": 900}
    with pytest.raises(QuantizationError, match="takes more than"):  # how much, nobody knows yet
        run_recbole_compress("DFQGRU4Rec", "tiny", config_dict=settings)


@pytest.mark.slow
def test_a_run_whose_file_is_no_larger_than_asked(trained, settings):
    settings |= {"full_precision_path": trained("SASRec"), "quantization_max_bytes": "36kB"}
    card = run_recbole_compress("DFQSASRec", "tiny", config_dict=settings)["card"]
    assert 34_000 < card["size_bytes"]["file"] <= 36_000
    assert 1 < card["quantization"]["mean_bits"] < 8
    mean = round(card["quantization"]["mean_bits"], 1)
    assert (card["choices"]["weight_bits"], card["choices"]["table_bits"]) == (mean, mean)
    assert f"{card['quantization']['mean_bits']:.3g} bits on average" in card_table(card)
    settings["quantization_max_bytes"] = "36 kilos"
    with pytest.raises(ConfigError, match="quantization_max_bytes='36 kilos'"):
        run_recbole_compress("DFQSASRec", "tiny", config_dict=settings)


@pytest.mark.parametrize("model", ["GRU4Rec", "BERT4Rec", "NextItNet", "CpRecNextItNet"])
def test_a_dfq_name_of_every_kind(data, model):
    settings = {**QUICK, **SMALL[model], **SHORT, "data_path": data, "weight_bits": 4}
    settings |= {"table_bits": 2}
    result = run_recbole_compress(f"DFQ{model}", "tiny", config_dict=settings)
    card, full = result["card"], result["full_precision"]
    assert card["model"] == f"DFQ{model}"
    assert (card["choices"]["weight_bits"], card["choices"]["table_bits"]) == (4, 2)
    assert card["training"]["epochs"] == card["quantization"]["passes"] == 1
    assert card["quantization"]["recipe"] == "self_sample"
    file_bytes = [os.path.getsize(r["checkpoint"]) for r in (result, full)]
    assert file_bytes[0] < file_bytes[1]
    assert card["metrics"]["test"] == dict(result["test_result"])

    # The file alone says as much, to whoever is given it with the data.
    arguments = [f"--data_path={data}", "--show_progress=False", "-o", "again.json"]
    assert main(["evaluate", result["checkpoint"], *arguments]) == 0
    with open("again.json") as file:
        again = json.load(file)
    assert again["model"] == card["model"] and again["metrics"] == card["metrics"]
    assert again["choices"] == card["choices"]


def test_a_quantization_that_fails_leaves_no_card_of_another_model(trained, in_tmp, monkeypatch):
    data = os.path.dirname(load_checkpoint(trained("SASRec"))["config"]["data_path"])
    settings = {**QUICK, **SMALL["SASRec"], "data_path": data, "card_path": "run.card.json"}

    class Failed(Exception):
        pass

    def fails(*_, **__):
        raise Failed

    module = "recbole_compress.quick_start.data_free.quantize_checkpoint"
    monkeypatch.setattr(module, fails)
    with pytest.raises(Failed):
        run_recbole_compress(
            "DFQSASRec", "tiny", config_dict={**settings, "ranks_path": "run.ranks.npz"}
        )
    assert not os.path.exists("run.card.json") and not os.path.exists("run.ranks.npz")


def test_dfq_of_one_of_ours(trained, in_tmp):
    data = os.path.dirname(load_checkpoint(trained("TTSASRec"))["config"]["data_path"])
    arguments = [f"--data_path={data}", "--epochs=1", "--MAX_ITEM_LIST_LENGTH=6", "--tt_ranks=4"]
    arguments += ["--card_path=card.json", "--show_progress=False", "--weight_bits=2"]
    arguments += ["--df_epochs=1", "--df_sequences=40", "--df_valid_sequences=20"]
    assert main(["--model=DFQTTSASRec", "--dataset=tiny", *arguments]) == 0
    with open("card.json") as file:
        assert json.load(file)["model"] == "DFQTTSASRec"


def test_bits_are_those_of_this_run_not_of_the_one_that_made_the_checkpoint(settings):
    low = {**settings, "quantization_recipe": "ptq", "table_bits": 2, "weight_bits": 2}
    made = run_recbole_compress("DFQSASRec", "tiny", config_dict=low)["full_precision"]
    again = {**settings, "full_precision_path": made["checkpoint"]}
    card = run_recbole_compress("DFQSASRec", "tiny", config_dict=again)["card"]
    assert card["choices"]["table_bits"] == card["choices"]["weight_bits"] == 8
    assert card["quantization"]["recipe"] == "self_sample"


def test_metrics_that_count_items_of_the_train_split(settings):
    counting = {**settings, "metrics": ["NDCG", "ItemCoverage", "AveragePopularity"]}
    ptq = {**counting, "quantization_recipe": "ptq"}
    result = run_recbole_compress("DFQSASRec", "tiny", config_dict=ptq)
    wanted = set(result["full_precision"]["test_result"])
    assert set(result["test_result"]) == wanted and "itemcoverage@10" in wanted
    # A training that had ended has nothing left to do but this.
    finished = result["full_precision"]["checkpoint"]
    assert set(run_recbole_compress(config_dict={"resume": finished})["test_result"]) == wanted


def test_without_a_valid_split(settings):
    alone = {**settings, "quantization_recipe": "ptq", "eval_args": {"split": {"LS": "test_only"}}}
    result = run_recbole_compress("DFQSASRec", "tiny", config_dict=alone)
    assert result["best_valid_score"] is None and result["test_result"]


def test_an_interrupted_one_says_how_it_goes_on(trained, settings, monkeypatch, capsys):
    path = trained("SASRec")
    arguments = [f"--data_path={settings['data_path']}", f"--full_precision_path={path}"]
    arguments += [f"--{key}={value}" for key, value in SHORT.items()]
    command = ["--model=DFQSASRec", "--dataset=tiny", "--table_bits=2", *arguments]

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SelfSampleTrainer, "_train_epoch", interrupt)
        assert main(command) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    start = f"interrupted; go on with the same command and --full_precision_path={path} --df_res"
    assert said.startswith(start)
    resume = said.split()[-1]
    others = [*command[:2], "--table_bits=4", *arguments, resume]
    assert main(others) == 2
    assert "was begun with table_bits=2" in capsys.readouterr().err
    assert main([*command, resume]) == 0


def test_groups_that_only_the_real_catalogue_decides_on(settings, monkeypatch):
    groups = {"quantization_granularity": "group", "weight_bits": 32, "tt_ranks": 4}
    groups |= {"quantization_recipe": "ptq", "MAX_ITEM_LIST_LENGTH": 6}
    settings = {**QUICK, **groups, "data_path": settings["data_path"]}

    def run(size):
        chosen = {**settings, "quantization_group_size": size}
        return run_recbole_compress("DFQTTSASRec", "tiny", config_dict=chosen)

    assert run(19)["test_result"]  # 38 items: rows of 76 numbers
    monkeypatch.setattr(SafeTrainer, "fit", None)  # refused before it would be called
    with pytest.raises(QuantizationError, match="group_size=8: does not divide the width 76"):
        run(8)


def test_a_run_leaves_the_threads_as_they_were(settings):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        ptq = {**settings, "quantization_recipe": "ptq", "threads": 1}
        card = run_recbole_compress("DFQSASRec", "tiny", config_dict=ptq)["card"]
        assert card["environment"]["threads"] == 1 and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
