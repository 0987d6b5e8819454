"""From a trained checkpoint to packed integers and back, as a user types it."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch

from recbole_compress.errors import CheckpointError
from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.from_checkpoint import model_alone, rebuilt_config
from recbole_compress.quick_start.quantize import quantize_checkpoint
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.quick_start.resumption import settings_of
from recbole_compress.trainers.checkpoint import load_checkpoint, save_checkpoint
from recbole_compress.trainers.self_sample_trainer import SelfSampleTrainer
from tests.conftest import SEQUENCES, write_interactions
from tests.marks import slow
from tests.quick_start.conftest import QUICK, SMALL, changed


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
    each_once = {tensor.data_ptr(): tensor for tensor in weights.values()}.values()
    stored = sum(t.numel() * t.element_size() for t in each_once)
    assert card["size_bytes"]["total"] == stored
    assert card["size_bytes"]["file"] == os.path.getsize("out.pth")
    assert stored < os.path.getsize("out.pth") < stored + 40_000 + 700 * len(weights)
    assert card["quantization"].pop("seconds") > 0
    assert card["quantization"] == {
        **{"recipe": "ptq", "mean_bits": 4.0, "passes": 0, "sequences": 0}
    }
    with open(f"{os.path.splitext(trained(model))[0]}.card.json") as file:
        before = json.load(file)
    assert card["parameters"] == before["parameters"]
    assert set(card["metrics"]["test"]) == set(before["metrics"]["test"])
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


@pytest.mark.parametrize("model", ["CpRecNextItNet", "TTSASRec"])
def test_a_random_start_is_no_copy_of_what_was_trained(alone, capsys, model):
    settings = [
        "--df_epochs=1",
        "--df_sequences=20",
        "--df_valid_sequences=20",
        "--df_start=random",
    ]
    path = alone(model)
    assert main(["quantize", path, "--recipe=noise", *settings, "-o", "random.pth"]) == 0
    trained, random = (model_alone(p).model.item_embedding for p in (path, "random.pth"))
    tables = [table.dense_weight()[1:].flatten() for table in (trained, random)]
    assert abs(torch.corrcoef(torch.stack(tables))[0, 1]) < 0.2


def test_a_training_on_the_data_reads_the_checkpoint_once(trained, in_tmp, capsys, monkeypatch):
    path, read, load = trained("SASRec"), [], torch.load
    monkeypatch.setattr(
        torch, "load", lambda file, **given: read.append(file) or load(file, **given)
    )
    settings = ["--df_epochs=1", "--df_valid_sequences=20"]
    command = ["quantize", path, "--recipe=qat", *settings, "-o", "out.pth"]
    assert main(command) == 0, capsys.readouterr()
    assert read.count(path) == 1


def test_an_interrupted_training_of_another_model_is_refused(alone, capsys, monkeypatch):
    settings = ["--df_epochs=2", "--df_sequences=20", "--df_valid_sequences=20"]
    command = ["quantize", alone(), *settings, "--table-bits=2", "--checkpoint_dir=saved"]

    def interrupt(self, *args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SelfSampleTrainer, "_train_epoch", interrupt)
        assert main([*command, "-o", "first.pth"]) == 130
    (left,) = os.listdir("saved")
    other = load_checkpoint(command[1])
    for name, weight in other["state_dict"].items():
        other["state_dict"][name] = weight.flip(0)
    save_checkpoint(other, "other.pth")
    command[1] = "other.pth"
    capsys.readouterr()
    assert main([*command, f"--df_resume=saved/{left}", "-o", "second.pth"]) == 2
    assert "begun with another full-precision model" in capsys.readouterr().err
    assert not os.path.exists("second.pth")


def test_threads_are_for_the_command(alone, monkeypatch):
    before, asked = torch.get_num_threads(), []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    quantize_checkpoint(alone(), "a.pth", quantization_recipe="ptq", threads=7)
    assert asked == [7, before]


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
    assert "go on with the same command and --df_resume=saved" in capsys.readouterr().err
    (left,) = (name for name in os.listdir("saved") if not name.endswith(".resume.pth"))
    assert not os.path.exists("rest.pth")
    spent = load_checkpoint(f"saved/{left}")["seconds"]
    for other in ("--activation-bits=4", "--recipe=noise"):
        assert main([*command, other, f"--df_resume=saved/{left}", "-o", "rest.pth"]) == 2
        assert "was begun with" in capsys.readouterr().err
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


def test_what_training_left_stays_until_the_result_is_written(alone, capsys, monkeypatch):
    settings = ["--df_epochs=1", "--df_sequences=20", "--df_valid_sequences=20", "--table-bits=2"]
    os.mkdir("folder")
    assert main(["quantize", alone(), *settings, "-o", "folder"]) == 2
    assert "folder: is a folder; name a file" in capsys.readouterr().err

    def full(state, path):
        raise CheckpointError(f"{path}: cannot be written (the disk is full)")

    monkeypatch.setattr("recbole_compress.quick_start.quantize.save_checkpoint", full)
    assert main(["quantize", "full.pth", *settings, "--out=folder/out.pth"]) == 2
    assert "the disk is full" in capsys.readouterr().err
    (left,) = os.listdir("folder")
    assert "parametrizations" in str(load_checkpoint(f"folder/{left}")["state_dict"].keys())


def test_config_files_of_now_are_stronger_than_what_the_run_was_told(alone):
    def told(state):
        state["config"].external_config_dict |= {"df_epochs": 5, "df_sequences": 64}

    path = changed(alone(), told)
    with open("later.yaml", "w") as file:
        file.write("df_epochs: 7\ndf_sequences: 20\n")
    later = {"config_files": "later.yaml", "df_sequences": 30}
    config = rebuilt_config(load_checkpoint(path), path, **later)
    assert (config["df_epochs"], config["df_sequences"]) == (7, 30)
    resumed = settings_of(None, {"resume": path}, ["--config_files=later.yaml"])
    assert (resumed["df_epochs"], resumed["df_sequences"]) == (7, 20)


def test_the_time_that_a_training_had_is_no_limit_of_its_quantization(alone):
    def told(state):
        state["config"].external_config_dict |= {"train_time_limit": 0.01, "df_resume": "gone.pth"}

    short = ["--df_epochs=3", "--df_sequences=20", "--df_valid_sequences=20", "--table-bits=2"]
    assert main(["quantize", changed(alone(), told), *short, "-o", "out.pth"]) == 0
    assert load_checkpoint("out.pth")["quantization"]["work"]["passes"] == 3


def test_static_ranges_need_no_data_either(alone):
    static = ["--activation-bits=8", "--activation-range=static"]
    assert main(["quantize", alone(), *static, "--recipe=ptq", "-o", "out.pth"]) == 0
    ranges = [
        tensor
        for name, tensor in load_checkpoint("out.pth")["state_dict"].items()
        if name.endswith("quantizer.scale")
    ]
    assert ranges and all(torch.isfinite(r).all() and (r > 0).all() for r in ranges)


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


@pytest.mark.parametrize("n_targets", [11, 60])  # fewer and more than the source has
def test_a_transferred_model_knows_both_its_catalogues(in_tmp, capsys, n_targets):
    target = [[f"t{(u * 3 + s) % n_targets}" for s in range(4 + u % 3)] for u in range(80)]
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
    assert main(["quantize", full["checkpoint"], *out]) == 2
    assert "reads other items than it recommends" in capsys.readouterr().err
    assert main(["quantize", full["checkpoint"], *out, "--recipe=ptq"]) == 0, capsys.readouterr()
    shutil.move("away", "source")
    shutil.move("away_too", "target")
    assert main(["evaluate", "out.pth", "--card_path=card.json"]) == 0, capsys.readouterr()
    with open("card.json") as file:
        assert json.load(file)["n_items"] == n_targets


@pytest.mark.parametrize("model", [slow("SASRec"), "CpRecNextItNet"])
@pytest.mark.parametrize("recipe", ["ptq", "self_sample"])
def test_a_file_is_no_larger_than_asked(alone, model, recipe, capsys):
    few = ["--df_epochs=1", "--df_sequences=64", f"--recipe={recipe}"]
    command = ["quantize", alone(model), *few]
    sizes = {}
    for bits in (3, 6):
        assert main([*command, f"--weight-bits={bits}", f"--table-bits={bits}", "-o", "u.pth"]) == 0
        sizes[bits] = os.path.getsize("u.pth")
    most = (sizes[3] + sizes[6]) // 2
    assert main([*command, f"--max-bytes={most}", "-o", "out.pth"]) == 0, capsys.readouterr()
    assert most - 2_000 < os.path.getsize("out.pth") <= most
    spec = load_checkpoint("out.pth")["quantization"]["spec"]
    assert len({given["bits"] for given in spec["overrides"].values()}) > 1
    restored = model_alone("out.pth")
    assert torch.isfinite(scores(restored.model, *sequences())[:, 1:]).all()
