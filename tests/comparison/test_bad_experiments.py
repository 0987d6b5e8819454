"""Experiments that cannot be: one line, before anything is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_compress.quick_start.command_line import main
from tests.comparison.experiments import RUNS, write_experiment
from tests.refusals import refusal

SMALL = {"model": "CpRecGRU4Rec", "embedding_size": 8, "hidden_size": 8}
STUDENT = {**SMALL, "recipe": "distillation", "checkpoints": {"teacher_path": "gru"}}
TRANSFER = {**SMALL, "recipe": "transfer", "checkpoints": {"pretrained": "gru"}}
QUANTIZED = {"model": "DFQGRU4Rec", "checkpoints": {"full_precision_path": "gru"}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models=Popp", "--datasets=tiny"], "did you mean 'Pop'"),
        (["--models=BPR", "--datasets=tiny"], "not a sequential recommender"),
        (["--models=Pop", "--datasets=tinny"], "did you mean 'tiny'"),
        (["--models=Pop"], "add --datasets"),
        (["--models=Pop", "--datasets=tiny", "--jobs=0"], "--jobs=0"),
        (["--models=Pop", "--datasets=tiny", "--seeds=x"], "'x' is not a whole number"),
        (["--models=Pop", "--datasets=tiny", "--reference=GRU"], "'GRU' is no entry"),
        (["--models=Pop,GRU4Rec", "--datasets=tiny", "--dropout_probb=1"], "'dropout_prob'"),
        (["--models=GRU4Rec", "--datasets=tiny", "--epochs=few"], "epochs='few'"),
        (["--models=Pop", "--datasets=tiny", "--card_path=x"], "card_path"),
        (["--models=Pop", "--dataset=tiny"], "--datasets"),
        ([], "EXPERIMENT.yaml"),
        (["nothing.yaml"], "no such file"),
        (["exp.yaml", "--only=gruu"], "did you mean 'gru'"),
        (["exp.yaml", "--models=Pop"], "--only"),
        (["exp.yaml", "--output=exp.yaml/out"], "--output=exp.yaml/out: nothing can be written"),
        (["exp.yaml", "--table", "--output=exp.yaml"], "choose another folder"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_run(folder, started, capsys, arguments, message):
    write_experiment(folder)
    data = [] if not arguments or ".yaml" in arguments[0] else [f"--data_path={folder / 'data'}"]
    assert message in refusal(capsys, ["compare", *arguments, *data])
    assert started == [] and not Path("runs").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"reference": "nobody"}, "reference: 'nobody' is no entry"),
        ({"runs": {}}, "no runs"),
        ({"runs": {"a": {"epochs": 3}}}, "runs: a: no model"),
        ({"runs": {"gru": {"model": "Pop", "epoch": 3}}}, "did you mean 'epochs'"),
        ({"runs": {"a": {"model": "Pop", "seeds": [7]}}}, "7 is none of [1, 2]"),
        (
            {"runs": {"gru": {"model": "Pop", "checkpoints": {"teacher_path": "Pop"}}}},
            "'Pop' is no entry above this one",
        ),
        (
            {"runs": {"gru": RUNS["gru"], "a": {"model": "Pop", "checkpoints": {"x": "gru"}}}},
            "checkpoints: x: unknown key",
        ),
        (
            {"runs": {"gru": RUNS["gru"], "a": {"model": "Pop", "checkpoints": {"x": ["gru"]}}}},
            "checkpoints: x: ['gru'] is no entry above this one",
        ),
        ({"runs": {"a": {"model": "Pop", "checkpoints": []}}}, "checkpoints: expected lines"),
        (
            {"runs": {"gru": {**RUNS["gru"], "seeds": [1]}, "a": STUDENT}},
            "tiny, a, seed 2: checkpoints: teacher_path: 'gru' has no run of this data set and",
        ),
        ({"runs": {"a": {"model": "Pop", "datasets": [["tiny"]]}}}, "['tiny'] is none of [tiny]"),
        ({"datasets": [["tiny"]]}, "datasets: expected names, not ['tiny']"),
        ({"reference": ["gru"]}, "reference: ['gru'] is no entry"),
        ({"reference": {"tiny": ["gru"]}}, "reference: ['gru'] is no entry"),
        ({"reference": {1: "gru"}}, "reference: 1 is not a text"),
        ({"seed": [1]}, "unknown key 'seed'; did you mean 'seeds'"),
        ({"runs": {"a b": {"model": "Pop"}, "a/b": {"model": "Pop"}}, "reference": None}, "rename"),
        ({"shared": {"lerning_rate": 0.1}}, "learning_rate"),
        ({"runs": {"gru": {"model": "GRU4Rec", "embedding_dropout_prob": 0.1}}}, "CpRecGRU4Rec"),
    ],
)
def test_a_broken_experiment_is_one_line(folder, started, capsys, more, message):
    assert message in refusal(capsys, ["compare", write_experiment(folder, **more)])
    assert started == []


@pytest.mark.parametrize(
    ("later", "message"),
    [
        ({**SMALL, "recipe": "distillation", "kd_temperature": -1}, "kd_temperature=-1"),
        ({**STUDENT, "kd_temperature": -1}, "kd_temperature=-1"),
        ({**STUDENT, "teacher": {"hidden_size": 9}}, "give one of them"),
        ({**STUDENT, "recipe": "cross_entropy"}, "recipe=cross_entropy has no teacher"),
        ({**STUDENT, "model": "GRU4Rec"}, "is for the models of this package"),
        ({**SMALL, "recipe": "distillation", "teacher_path": "x.pth"}, "x.pth"),
        ({**SMALL, "recipe": "transfer"}, "pre-trained on what?"),
        ({**TRANSFER, "pretrain": False}, "pretrained=the checkpoint of gru: give one of them"),
        ({**TRANSFER, "recipe": "cross_entropy"}, "has no source"),
        ({**QUANTIZED, "table_bits": 17}, "table_bits=17"),
        ({**QUANTIZED, "model": "GRU4Rec"}, "is not quantized in this run"),
    ],
)
def test_what_a_later_run_would_refuse_is_refused_before_the_first(
    folder, started, capsys, later, message
):
    path = write_experiment(folder, runs={"gru": RUNS["gru"], "later": later})
    assert main(["compare", path]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: tiny, later, seed 1: ") and message in line
    assert started == [] and not Path("runs").exists()


@pytest.mark.parametrize("later", [STUDENT, TRANSFER, QUANTIZED])
def test_a_checkpoint_that_is_not_there_yet_is_not_looked_for(folder, later):
    path = write_experiment(folder, runs={"gru": RUNS["gru"], "later": later})
    assert main(["compare", path, "--table"]) == 0


def test_checkpoints_left_empty_are_none(folder):
    path = write_experiment(folder, runs={"gru": {**RUNS["gru"], "checkpoints": None}})
    for more in ([], ["--only=gru"]):
        assert main(["compare", path, "--table", *more]) == 0


def test_two_entries_of_one_name(folder, capsys):
    (folder / "exp.yaml").write_text("runs:\n  gru: {model: GRU4Rec}\n  gru: {model: Pop}\n")
    message = "config file exp.yaml: not valid yaml, line 3: 'gru' is given twice; keep one"
    assert message in refusal(capsys, ["compare", "exp.yaml"])


def test_yaml_that_is_none(folder, capsys):
    (folder / "exp.yaml").write_text("runs: [\n")
    assert main(["compare", "exp.yaml"]) == 2
    assert "not valid yaml" in capsys.readouterr().err
