"""From a trained checkpoint to packed integers and back, as a user types it."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch

from recbole_compress.errors import CheckpointError
from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.from_checkpoint import model_alone
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.reports.table import card_table
from recbole_compress.trainers.checkpoint import load_checkpoint, save_checkpoint
from recbole_compress.trainers.datafree_trainer import SelfSampleTrainer
from tests.conftest import SEQUENCES, write_interactions

QUICK = {
    "epochs": 1,
    "MAX_ITEM_LIST_LENGTH": 6,
    "show_progress": False,
    "threads": 1,
    "metrics": ["NDCG", "Hit"],
    "valid_metric": "NDCG@10",
}
SMALL = {
    "SASRec": {"hidden_size": 16, "inner_size": 32},
    "GRU4Rec": {"hidden_size": 24, "embedding_size": 16},
    "NARM": {"hidden_size": 16, "embedding_size": 16},
    "Caser": {"embedding_size": 16},
    "STAMP": {"embedding_size": 16},
    "BERT4Rec": {"hidden_size": 16, "inner_size": 32},
    "LightSANs": {"hidden_size": 16, "inner_size": 32},
    "NextItNet": {"embedding_size": 16, "block_num": 1, "dilations": [1, 2]},
    "CpRecNextItNet": {"embedding_size": 16, "dilations": [1, 2]},
    "CpRecGRU4Rec": {"embedding_size": 16, "hidden_size": 24},
    "TTSASRec": {"embedding_size": 16, "inner_size": 32, "tt_ranks": 4, "pq_splits": 4},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Checkpoints by model, each trained once; the folder they and the data lie in."""
    folder = tmp_path_factory.mktemp("trained")
    path = write_interactions(folder / "data", "tiny", SEQUENCES)
    made: dict[str, str] = {}

    def checkpoint(model):
        if model not in made:
            settings = {**QUICK, **SMALL[model], "data_path": path, "checkpoint_dir": str(folder)}
            settings["log_wandb"] = False
            before = os.getcwd()
            os.chdir(folder)
            try:
                made[model] = run_recbole_compress(model, "tiny", config_dict=settings)[
                    "checkpoint"
                ]
            finally:
                os.chdir(before)
        return made[model]

    return checkpoint


@pytest.fixture
def alone(trained, in_tmp, monkeypatch):
    """A copy of a checkpoint in a folder without any data, and its data hidden meanwhile."""

    def copied(model="SASRec"):
        shutil.copy(trained(model), "full.pth")
        state = load_checkpoint("full.pth")
        state["config"].external_config_dict["data_path"] = "gone/for/good"
        save_checkpoint(state, "full.pth")
        return "full.pth"

    return copied


def sequences(n=20, longest=6, n_items=38):
    lengths = torch.randint(1, longest + 1, (n,))
    items = torch.randint(1, n_items, (n, longest))
    return items * (torch.arange(longest) < lengths[:, None]), lengths


def scores(model, items, lengths):
    from recbole_compress.reports.requests import request_interaction

    with torch.no_grad():
        request = request_interaction(model, items, lengths)
        return model.full_sort_predict(request).reshape(len(items), -1)


@pytest.mark.parametrize("model", SMALL)
def test_quantize_needs_no_data_and_evaluate_gives_the_card(alone, trained, model, capsys):
    arguments = ["--weight-bits=4", "--table-bits=4", "--activation-bits=8", "--recipe=ptq"]
    assert main(["quantize", alone(model), *arguments, "-o", "out.pth"]) == 0, capsys.readouterr()
    assert not os.path.exists("gone")

    restored = model_alone("out.pth")
    again = model_alone("out.pth")
    items, lengths = sequences()
    found = scores(restored.model, items, lengths)
    assert torch.equal(found, scores(again.model, items, lengths))
    full = scores(model_alone("full.pth").model, items, lengths)
    assert found.shape == full.shape and not torch.equal(found, full)
    weights = restored.state["state_dict"]
    assert not any(t.is_floating_point() and t.numel() > 300 for t in weights.values())

    data = load_checkpoint(trained(model))["config"]["data_path"]
    arguments = [f"--data_path={os.path.dirname(data)}", "--card_path=card.json"]
    assert main(["evaluate", "out.pth", *arguments]) == 0, capsys.readouterr()
    with open("card.json") as file:
        card = json.load(file)
    assert card["model"] == f"DFQ{model}"
    assert (card["choices"]["weight_bits"], card["choices"]["activation_bits"]) == (4, 8)
    assert card["metrics"]["test"]["ndcg@10"] >= 0
    each_once = {tensor.data_ptr(): tensor for tensor in weights.values()}.values()
    stored = sum(t.numel() * t.element_size() for t in each_once)
    assert card["size_bytes"]["total"] == stored
    assert card["size_bytes"]["file"] == os.path.getsize("out.pth")
    assert stored < os.path.getsize("out.pth") < stored + 40_000 + 700 * len(weights)
    assert card["quantization"].pop("seconds") > 0
    assert card["quantization"] == {"recipe": "ptq", "passes": 0, "sequences": 0}
    with open(f"{os.path.splitext(trained(model))[0]}.card.json") as file:
        before = json.load(file)
    assert card["parameters"] == before["parameters"]
    assert card["reference_bytes"] == before["reference_bytes"]
    assert card["size_bytes"]["total"] < before["size_bytes"]["total"]


def test_the_file_of_a_large_table_is_as_small_as_it_says(in_tmp, trained, alone, capsys):
    """Not the tables of the test data: 4 bits are an eighth of 32 only where tables rule."""
    path = alone("GRU4Rec")
    state = load_checkpoint(path)
    rows = 20_000
    table = torch.randn(rows, 16)
    state["state_dict"]["item_embedding.weight"] = table
    state["catalogue"]["n_items"] = rows
    save_checkpoint(state, path)
    assert (
        main(["quantize", path, "--weight-bits=4", "--table-bits=4", "--recipe=ptq", "-o", "o.pth"])
        == 0
    )
    codes, scales = rows * 8, rows * 4
    assert codes + scales < os.path.getsize("o.pth") < (codes + scales) * 1.1
    assert f"{os.path.getsize('o.pth'):,} bytes" in capsys.readouterr().out


def test_settings_reach_the_integers(alone):
    arguments = ["--granularity=group", "--group-size=8", "--symmetric=False", "--keep=[]"]
    arguments += ["--scale-dtype=float16", "--overrides={'*dense_1*': {'bits': 6}}"]
    assert (
        main(
            ["quantize", alone(), "--table-bits=2", *arguments, "--recipe=ptq", "--output=out.pth"]
        )
        == 0
    )
    entries = load_checkpoint("out.pth")["quantization"]["parameters"]
    assert entries["item_embedding.weight"]["format"] == {
        "bits": 2,
        "granularity": "group",
        "group_size": 8,
        "symmetric": False,
        "scale_dtype": "float16",
        "range_finder": "mse",
    }
    assert "position_embedding.weight" in entries
    assert {e["format"]["bits"] for n, e in entries.items() if "dense_1" in n} == {6}


def test_an_interrupted_quantization_goes_on(alone, capsys, monkeypatch):
    """``--df_resume`` ends where an uninterrupted command does, and counts all of the work."""
    settings = ["--df_epochs=3", "--df_sequences=60", "--df_valid_sequences=40"]
    settings += ["--df_learning_rate=0.003", "--df_batch_size=20", "--weight-bits=1"]
    settings += ["--table-bits=1", "--df_stopping_step=9", "--checkpoint_dir=saved"]
    command = ["quantize", alone(), *settings]
    assert main([*command, "-o", "whole.pth"]) == 0, capsys.readouterr()
    assert not os.listdir("saved")

    train_epoch = SelfSampleTrainer._train_epoch

    def interrupt(self, train_data, epoch, *args, **kwargs):
        if epoch == 2:
            raise KeyboardInterrupt
        return train_epoch(self, train_data, epoch, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(SelfSampleTrainer, "_train_epoch", interrupt)
        assert main([*command, "-o", "rest.pth"]) == 130
    assert "--df_resume=saved" in capsys.readouterr().err
    (left,) = (name for name in os.listdir("saved") if not name.endswith(".resume.pth"))
    assert not os.path.exists("rest.pth")
    spent = load_checkpoint(f"saved/{left}")["seconds"]
    assert main([*command, f"--df_resume=saved/{left}", "-o", "rest.pth"]) == 0
    whole, rest = load_checkpoint("whole.pth"), load_checkpoint("rest.pth")
    assert main([*command, "--recipe=ptq", "-o", "untrained.pth"]) == 0
    untrained = load_checkpoint("untrained.pth")["state_dict"]
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(tensor, rest["state_dict"][name]), name
    assert any(not torch.equal(t, untrained[n]) for n, t in whole["state_dict"].items())
    work = rest["quantization"]["work"]
    assert (work["passes"], work["sequences"]) == (3, 180)
    assert work["seconds"] > spent
    assert "3 passes, 180 sequences" in capsys.readouterr().out
    assert not os.listdir("saved")


def test_nothing_is_written_where_the_run_of_a_checkpoint_wrote(alone):
    """That may have been another machine."""

    def move(state):
        state["config"]["checkpoint_dir"] = os.path.abspath("elsewhere")

    settings = ["--df_epochs=1", "--df_sequences=20", "--df_valid_sequences=20", "--table-bits=2"]
    os.mkdir("results")
    path = changed(alone(), move)
    assert main(["quantize", path, *settings, "-o", "results/out.pth"]) == 0
    assert os.listdir("results") == ["out.pth"] and not os.path.exists("elsewhere")


def test_a_training_that_cannot_be_gone_on_with(alone, capsys):
    command = ["quantize", alone(), "--table-bits=2"]
    refused(capsys, [*command, "--df_resume=nothing.pth"], "nothing.pth", "no such checkpoint")
    assert main([*command, "--df_resume=full.pth", "-o", "out.pth"]) == 2
    assert "full.pth: its weights do not fit" in capsys.readouterr().err
    assert not os.path.exists("out.pth")


def test_static_ranges_need_no_data_either(alone):
    static = ["--activation-bits=8", "--activation-range=static"]
    assert main(["quantize", alone(), *static, "--recipe=ptq", "-o", "out.pth"]) == 0
    ranges = [
        tensor
        for name, tensor in load_checkpoint("out.pth")["state_dict"].items()
        if name.endswith("quantizer.scale")
    ]
    assert ranges and all(torch.isfinite(r).all() and (r > 0).all() for r in ranges)


# -- DFQ<Model> -------------------------------------------------------------------------------


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


def test_dfq_of_one_of_ours(trained, in_tmp):
    data = os.path.dirname(load_checkpoint(trained("TTSASRec"))["config"]["data_path"])
    arguments = [f"--data_path={data}", "--epochs=1", "--MAX_ITEM_LIST_LENGTH=6", "--tt_ranks=4"]
    arguments += ["--card_path=card.json", "--show_progress=False", "--weight_bits=2"]
    assert main(["--model=DFQTTSASRec", "--dataset=tiny", *arguments]) == 0
    with open("card.json") as file:
        assert json.load(file)["model"] == "DFQTTSASRec"


# -- what cannot be ---------------------------------------------------------------------------


def refused(capsys, arguments, *parts, code=2):
    """One line on standard error that says all this, and nothing new on the disk."""
    before = {name: os.stat(name).st_mtime_ns for name in os.listdir()}
    assert main(arguments) == code
    error = capsys.readouterr().err.strip()
    assert "\n" not in error and error.startswith("error: "), error
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
        (["--weight-bits=four"], ["weight_bits='four'"]),
        (["--granularity=group", "--group-size=7"], ["group_size=7", "does not divide the width"]),
        (["--granularity=group"], ["group_size=None"]),
        (["--granularity=column"], ["granularity='column'"]),
        (["--symmetric=False", "--table-bits=1"], ["table_bits=1", "symmetric"]),
        (["--recipe=ptp"], ["quantization_recipe='ptp'", "'ptq'"]),
        (["--wieght-bits=4"], ["wieght_bits", "unknown key"]),
        (["--range-finder=best"], ["range_finder='best'"]),
        (["--overrides={'*': {'bit': 3}}"], ["'bit'", "did you mean 'bits'"]),
        (["-o"], ["names no file"]),
        (["-o", "full.pth"], ["full.pth", "choose another -o"]),
    ],
)
def test_settings_that_cannot_be(alone, capsys, arguments, parts):
    refused(capsys, ["quantize", alone(), *arguments], *parts)


def test_no_checkpoint_named_or_there(in_tmp, capsys):
    refused(capsys, ["quantize"], "no file named")
    refused(capsys, ["quantize", "nothing.pth"], "there is no such checkpoint")
    refused(capsys, ["evaluate"], "no file named")
    (in_tmp / "model.zip").write_text("")
    refused(capsys, ["evaluate", "model.zip"], "cannot be evaluated", ".pth")


def changed(path, change):
    state = load_checkpoint(path)
    change(state)
    save_checkpoint(state, path)
    return path


def test_a_damaged_checkpoint(alone, capsys):
    path = alone()
    os.truncate(path, os.path.getsize(path) // 2)
    refused(capsys, ["quantize", path], path, "damaged")


def test_foreign_objects(alone, capsys):
    state = load_checkpoint(alone())
    state["other_parameter"] = {"teacher": torch.nn.Linear(2, 2)}
    torch.save(state, "full.pth")
    refused(capsys, ["quantize", "full.pth"], "full.pth", "holds more than data")


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


def test_rows_of_zeros_stay_zeros(alone):
    def empty(state):
        state["state_dict"]["item_embedding.weight"][5:9] = 0

    path = changed(alone(), empty)
    for bits in ("1", "2", "8"):
        assert (
            main(["quantize", path, f"--table-bits={bits}", "--recipe=ptq", "-o", "out.pth"]) == 0
        )
        table = model_alone("out.pth").model.item_embedding.weight
        assert not table[5:9].any() and table[1:5].any()


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


def test_other_items_are_not_evaluated(alone, capsys, in_tmp):
    assert main(["quantize", alone(), "--recipe=ptq", "-o", "out.pth"]) == 0
    capsys.readouterr()
    path = write_interactions(in_tmp / "other", "tiny", SEQUENCES[1:])
    refused(capsys, ["evaluate", "out.pth", f"--data_path={path}"], "knows other items")


def test_settings_of_a_quantization_that_nobody_asked_for(in_tmp, capsys):
    arguments = ["--model=SASRec", "--dataset=ml-100k", "--weight_bits=4"]
    refused(capsys, arguments, "weight_bits=4", "--model=DFQSASRec")


def test_a_dfq_name_refuses_before_it_trains(in_tmp, capsys, alone):
    start = ["--model=DFQSASRec", "--dataset=tiny"]
    refused(capsys, [*start, "--weight_bits=12"], "weight_bits=12")
    refused(capsys, [*start, "--quantization_recipe=x"], "quantization_recipe='x'")
    refused(capsys, ["--model=DFQSASRek", "--dataset=tiny"], "did you mean")
    path = alone("GRU4Rec")
    refused(capsys, [*start, f"--full_precision_path={path}"], "is of model 'GRU4Rec'")


def test_a_transferred_model_knows_both_its_catalogues(in_tmp, capsys):
    target = [[f"t{(u * 3 + s) % 11}" for s in range(4 + u % 3)] for u in range(80)]
    write_interactions(in_tmp, "source", SEQUENCES)
    write_interactions(in_tmp, "target", target)
    settings = {
        **QUICK,
        **SMALL["CpRecNextItNet"],
        "data_path": str(in_tmp),
        "recipe": "transfer",
        "source_dataset": "source",
        "sampled_candidates": 0,
    }
    full = run_recbole_compress("CpRecNextItNet", "target", config_dict=settings)
    shutil.move("source", "away")
    shutil.move("target", "away_too")
    out = ["--weight-bits=4", "--activation-bits=8", "--activation-range=static", "-o", "out.pth"]
    assert main(["quantize", full["checkpoint"], *out]) == 0, capsys.readouterr()
    shutil.move("away", "source")
    shutil.move("away_too", "target")
    assert main(["evaluate", "out.pth", "--card_path=card.json"]) == 0, capsys.readouterr()
    with open("card.json") as file:
        assert json.load(file)["n_items"] == 11
