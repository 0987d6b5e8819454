"""What `quantize` and `evaluate` refuse, in one line and with nothing written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from recbole_compress.config import Config
from recbole_compress.errors import CheckpointError, QuantizationError
from recbole_compress.quick_start.checks import check_run
from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.from_checkpoint import model_alone
from recbole_compress.trainers import random_state
from recbole_compress.trainers.checkpoint import load_checkpoint, plain_config, save_checkpoint
from tests.conftest import SEQUENCES, write_interactions
from tests.quantization.models import made
from tests.quick_start.conftest import SMALL, changed
from tests.refusals import refusal


def refused(capsys, arguments, *parts):
    """In one line that says all this, and nothing is new on the disk."""
    before = {name: os.stat(name).st_mtime_ns for name in os.listdir()}
    error = refusal(capsys, arguments)
    for part in parts:
        assert part in error, error
    assert {name: os.stat(name).st_mtime_ns for name in os.listdir()} == before


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (["--weight-bits=0"], ["weight_bits=0", "1 to 8"]),
        (["--weight-bits=9"], ["weight_bits=9"]),
        (["--table-bits=16"], ["table_bits=16", "1 to 8"]),
        (["--activation-bits=1"], ["activation_bits=1", "2 to 8"]),
        (["--weight-bits=four"], ["error: --weight_bits=four: expected int"]),
        (["--granularity=group", "--group-size=7"], ["group_size=7", "does not divide the width"]),
        (["--granularity=group"], ["group_size=None"]),
        (["--group-size=16"], ["group_size=16", "granularity is row", "add granularity=group"]),
        (["--overrides={'*': {'scale_dtype': ['float16']}}"], ["scale_dtype=['float16']"]),
        (["--keep=[1]"], ["keep: 1", "name pattern"]),
        (["--calibration-sequences=0"], ["calibration_sequences=0", "1 or more"]),
        (["--df-betas=['a', 0.9]"], ["df_betas=['a', 0.9]", "two numbers"]),
        (["--df-milestones=['a']"], ["df_milestones=['a']", "numbers of passes"]),
        (["--recipe=ptq", "--df-resume=gone.pth"], ["df_resume=gone.pth", "ptq trains nothing"]),
        (["--granularity=column"], ["--quantization_granularity=column: choose one of"]),
        (["--max-bytes=small"], ["quantization_max_bytes='small'", "such as 2000000, 800kB"]),
        (["--max-bytes=1e999"], ["quantization_max_bytes='1e999'"]),
        (["--max-bytes=-3"], ["quantization_max_bytes=-3", "above 0"]),
        (["--max-bytes=2kB"], ["quantization_max_bytes=2000", "the smallest file of this model"]),
        (["--symmetric=False", "--table-bits=1"], ["table_bits=1", "symmetric"]),
        (["--recipe=ptp"], ["quantization_recipe='ptp'", "'ptq'"]),
        (["--wieght-bits=4"], ["--wieght_bits=4: unknown option; did you mean --weight-bits?"]),
        (
            ["--bits=4"],
            [
                "--bits=4: unknown option; did you mean --activation-bits or --table-bits or "
                "--weight-bits?"
            ],
        ),
        (["--group=4"], ["--group=4: unknown option; did you mean --group-size?"]),
        (["--n-head=2"], ["--n_head=2: unknown option; did you mean 'n_heads'"]),
        (["--tt-ratio=2"], ["--tt_ratio=2: unknown option; it is a key of", "not of SASRec"]),
        (["--range-finder=best"], ["--quantization_range_finder=best: choose one of"]),
        (["--overrides={'*': {'bit': 3}}"], ["'bit'", "did you mean 'bits'"]),
        (["--overrides={'*': 3}"], ["'*': 3", "{'bits': 3}"]),
        (["--overrides={'item_emb': {'bits': 3}}"], ["'item_emb'", "item_embedding.weight"]),
        (["-o"], ["names no file"]),
        (["-o", "full.pth"], ["full.pth", "choose another -o"]),
    ],
)
def test_settings_that_cannot_be(alone, capsys, arguments, parts):
    refused(capsys, ["quantize", alone(), *arguments], *parts)


@pytest.mark.parametrize("command", ["evaluate", "synthetic"])
def test_options_that_are_no_settings(alone, capsys, command):
    message = "error: --metrcs=['NDCG']: unknown option; did you mean 'metrics'"
    refused(capsys, [command, alone(), "--metrcs=['NDCG']"], message)


def test_folders_that_cannot_be_made(alone, capsys, trained):
    open("file", "w").close()
    refused(capsys, ["quantize", alone(), "--recipe=ptq", "-o", "file/out.pth"], "file/out.pth")
    data = os.path.dirname(load_checkpoint(trained("SASRec"))["config"]["data_path"])
    told = ["--model=SASRec", "--dataset=tiny", f"--data_path={data}", "--checkpoint_dir=file/x"]
    assert main(told) == 2
    # What is logged before depends on what else ran in this process.
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith("error: file/x: this folder cannot be made")
    assert "--checkpoint_dir" in error


def test_evaluate_writes_nothing_where_the_training_wrote(alone, trained, capsys):
    def move(state):
        data = load_checkpoint(trained("SASRec"))["config"]["data_path"]
        state["config"].external_config_dict |= {
            "checkpoint_dir": "elsewhere",
            "data_path": os.path.dirname(data),
        }

    assert main(["evaluate", changed(alone(), move)]) == 0, capsys.readouterr()
    assert not os.path.exists("elsewhere") and os.path.exists("full.evaluation.card.json")


def test_no_checkpoint_named_or_there(in_tmp, capsys):
    refused(capsys, ["quantize"], "no file named")
    refused(capsys, ["quantize", "nothing.pth"], "there is no such checkpoint")
    refused(capsys, ["evaluate"], "no file named")
    (in_tmp / "model.zip").write_text("")
    refused(capsys, ["evaluate", "model.zip"], "cannot be evaluated", ".pth")


def test_a_damaged_checkpoint(alone, capsys):
    path = alone()
    os.truncate(path, os.path.getsize(path) // 2)
    refused(capsys, ["quantize", path], path, "damaged")


def test_foreign_objects(alone, capsys):
    state = load_checkpoint(alone())
    state["other_parameter"] = {"teacher": torch.nn.Linear(2, 2)}
    torch.save(state, "full.pth")
    refused(capsys, ["quantize", "full.pth"], "full.pth", "holds more than data")


@pytest.mark.parametrize("more", [["--recipe=ptq"], ["--recipe=ptq", "--max-bytes=20kB"], []])
def test_numbers_that_are_none_where_no_integers_stand(alone, capsys, more):
    def broken(state):
        state["state_dict"]["LayerNorm.weight"][0] = torch.nan

    path = changed(alone(), broken)
    refused(capsys, ["quantize", path, *more, "-o", "q.pth"], "numbers are NaN or infinite")
    assert not os.path.exists("q.pth")


def test_a_place_where_nothing_can_be_written(alone, capsys):
    (path := alone(), open("file", "w").close())
    for command in (["quantize", path], ["evaluate", path], ["export", path]):
        refused(capsys, [*command, "-o", "file/out"], "file/out: cannot be written, ")


def test_the_result_does_not_take_the_place_of_what_is_resumed(alone, capsys):
    shutil.copy(alone(), "begun.pth")
    command = ["quantize", "full.pth", "--df_resume=begun.pth", "-o", "begun.pth"]
    refused(capsys, command, "begun.pth: is the file that is read")
    assert os.path.exists("begun.pth")


def test_an_unknown_model(alone, capsys):
    def rename(state):
        state["config"].final_config_dict["model"] = "SASRek"

    refused(capsys, ["quantize", changed(alone(), rename)], "model='SASRek'", "did you mean")


def test_no_item_table(alone, capsys):
    def drop(state):
        del state["state_dict"]["item_embedding.weight"]

    refused(capsys, ["quantize", changed(alone(), drop)], "full.pth", "item_embedding.weight")

    def forget(state):
        drop(state)
        del state["catalogue"]

    refused(capsys, ["quantize", changed(alone(), forget)], "full.pth", "has no item table")


def test_weights_that_are_no_numbers(alone, capsys):
    def spoil(state):
        state["state_dict"]["item_embedding.weight"][3, 2] = torch.nan

    message = ["item_embedding.weight", "NaN"]
    refused(capsys, ["quantize", changed(alone(), spoil)], *message)


def test_already_quantized(alone, capsys):
    assert main(["quantize", alone(), "--recipe=ptq", "-o", "out.pth"]) == 0
    capsys.readouterr()
    refused(capsys, ["quantize", "out.pth"], "out.pth", "quantized already")


def test_a_quantized_file_that_does_not_fit_itself(alone, capsys):
    assert main(["quantize", alone(), "--recipe=ptq", "-o", "out.pth"]) == 0
    capsys.readouterr()

    def of_the_future(state):
        state["quantization"]["version"] = 99

    def of_another_shape(state):
        state["quantization"]["parameters"]["item_embedding.weight"]["rows"] = [3, 3]

    def without_format(state):
        del state["quantization"]["parameters"]["item_embedding.weight"]["format"]

    for change in (of_the_future, of_another_shape, without_format):
        shutil.copy("out.pth", "wrong.pth")
        with pytest.raises(CheckpointError, match="wrong.pth"):
            model_alone(changed("wrong.pth", change))


def test_other_items_are_neither_evaluated_nor_learned_from(alone, capsys, in_tmp):
    assert main(["quantize", alone(), "--recipe=ptq", "-o", "out.pth"]) == 0
    path = write_interactions(in_tmp / "other", "tiny", SEQUENCES[1:])
    refused(capsys, ["evaluate", "out.pth", f"--data_path={path}"], "knows other items")
    learn = ["quantize", "full.pth", "--recipe=qat", f"--data_path={path}"]
    refused(capsys, learn, "full.pth: knows other items")

    def as_recbole_writes_it(state):
        del state["item_map_sha256"]

    changed("full.pth", as_recbole_writes_it)
    fewer = write_interactions(in_tmp / "fewer", "tiny", [s[:2] for s in SEQUENCES[:20]])
    refused(capsys, [*learn[:-1], f"--data_path={fewer}"], "full.pth: knows other items")


def test_settings_of_a_quantization_that_nobody_asked_for(in_tmp, capsys):
    arguments = ["--model=SASRec", "--dataset=ml-100k", "--weight_bits=4"]
    refused(capsys, arguments, "weight_bits=4", "--model=DFQSASRec")


def test_a_dfq_name_refuses_before_it_trains(in_tmp, capsys, alone):
    start = ["--model=DFQSASRec", "--dataset=tiny"]
    refused(capsys, [*start, "--weight_bits=12"], "weight_bits=12")
    refused(capsys, [*start, "--quantization_recipe=x"], "quantization_recipe='x'")
    refused(capsys, [*start, "--df_epochs=0"], "df_epochs=0: choose 1 or more")
    refused(capsys, ["--model=DFQSASRek", "--dataset=tiny"], "did you mean")
    path = alone("GRU4Rec")
    refused(capsys, [*start, f"--full_precision_path={path}"], "is of model 'GRU4Rec'")


CLASSES = "selected_features=['class']"


@pytest.mark.parametrize(
    "model, settings, parts",
    [
        (
            "SASRec",
            ["quantization_granularity=group", "quantization_group_size=48"],
            ["item_embedding.weight: group_size=48: does not divide the width 64"],
        ),
        (
            "SASRec",
            ["quantization_overrides={'item_emb': {'bits': 3}}"],
            ["overrides: 'item_emb'", "item_embedding.weight"],
        ),
        ("SASRec", ["weight_bits=32", "table_bits=32"], ["SASRec: has no table or matrix"]),
        ("SASRecF", [CLASSES], ["without its data set", "take --model=SASRecF"]),
        ("DIN", [], ["without its data set", "take --model=DIN"]),
        ("KSR", [], ["without its data set", "entity_id"]),
        ("FPMC", ["quantization_recipe=adversarial"], ["FPMC: has no item_embedding"]),
        ("FPMC", ["df_objective=discrepancy"], ["FPMC: has no item_embedding"]),
        ("CORE", ["quantization_recipe=adversarial"], ["CORE: does not read its sequences by one"]),
        ("TransRec", ["quantization_recipe=adversarial"], ["TransRec: does not read its seq"]),
        (
            "SASRec",
            ["df_objective=discrepancy", "MAX_ITEM_LIST_LENGTH=1"],
            ["MAX_ITEM_LIST_LENGTH=1: no item follows another in what SASRec reads"],
        ),
        ("BPR", [], ["model='BPR': not a sequential recommender"]),
    ],
)
def test_a_dfq_name_refuses_a_model_before_any_data_is_looked_for(
    in_tmp, capsys, model, settings, parts
):
    arguments = [f"--model=DFQ{model}", "--dataset=nowhere", *(f"--{key}" for key in settings)]
    refused(capsys, arguments, *parts)


CURIOUS = """
from recbole.model.sequential_recommender import GRU4Rec

class Curious(GRU4Rec):
    def full_sort_predict(self, interaction):
        interaction[self.POS_ITEM_ID]
        return super().full_sort_predict(interaction)
"""
STATIC = ["quantization_recipe=ptq", "activation_bits=8", "activation_range=static"]


@pytest.mark.parametrize("settings", [[], STATIC])
def test_a_model_that_reads_more_than_items_is_refused(in_tmp, capsys, monkeypatch, settings):
    monkeypatch.syspath_prepend(str(in_tmp))
    Path("curious.py").write_text(CURIOUS)
    of_gru4rec = ["embedding_size=8", "hidden_size=8", "num_layers=1", "dropout_prob=0"]
    settings = [f"--{key}" for key in ("loss_type=CE", *of_gru4rec, *settings)]
    start = ["--model=DFQcurious:Curious", "--dataset=nowhere"]
    refused(capsys, [*start, *settings], "Curious: asks for 'item_id'", "without data")


@pytest.mark.parametrize("model", [*SMALL, "FPMC", "TransRec"])
def test_looking_at_a_model_beforehand_changes_nothing(in_tmp, model):
    config = Config(f"DFQ{model}", "nowhere")
    settings = dict(config.final_config_dict)
    before = random_state.capture()
    check_run(config)
    after = random_state.capture()
    for source in ("python", "numpy", "torch"):
        for one, other in zip(before[source], after[source], strict=True):
            assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    assert config.final_config_dict == settings
    assert not os.listdir()


def test_what_depends_on_the_catalogue_is_left_to_the_real_one(in_tmp):
    groups = {"quantization_granularity": "group", "quantization_group_size": 19}
    check_run(Config("DFQTTSASRec", "nowhere", config_dict={**groups, "weight_bits": 32}))
    with pytest.raises(QuantizationError, match="group_size=19: does not divide the width 64"):
        check_run(Config("DFQSASRec", "nowhere", config_dict=groups))
    # Its settings are another run's, and not known yet.
    awaited = Config("DFQSASRec", "nowhere", config_dict={**groups, "full_precision_path": "x"})
    check_run(awaited, ["full_precision_path"])


def test_a_checkpoint_that_a_recipe_cannot_ask_is_refused_before_the_first_pass(in_tmp, capsys):
    config, model = made("CORE", embedding_size=16, dnn_type="ave")
    state = {"config": plain_config(config), "state_dict": model.state_dict()}
    save_checkpoint(state, "core.pth")
    command = ["quantize", "core.pth", "--recipe=adversarial", "--df_warmup_epochs=1"]
    refused(capsys, [*command, "--df_epochs=2"], "CORE: does not read its sequences by one look-up")
    assert os.listdir() == ["core.pth"]
    quiet = ["--df_synthesis=epsilon_greedy", "--df_epochs=1", "--df_sequences=8"]
    assert main([*command, *quiet, "--df_valid_sequences=8", "--df_similarity_items=8"]) == 0


def test_a_training_that_cannot_be_gone_on_with(alone, capsys):
    command = ["quantize", alone(), "--table-bits=2"]
    refused(capsys, [*command, "--df_resume=nothing.pth"], "nothing.pth", "no such checkpoint")
    assert main([*command, "--df_resume=full.pth", "-o", "out.pth"]) == 2
    assert "full.pth: its model is not being quantized" in capsys.readouterr().err
    assert not os.path.exists("out.pth")
