"""From a checkpoint to a file and back to RecBole's metrics, on the command line."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from recbole_compress.artifact import Recommender
from recbole_compress.artifact.session import Session
from recbole_compress.data.catalogue import Catalogue
from recbole_compress.quick_start.artifact_subject import answering_model, config_of
from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.evaluate import evaluate_file
from recbole_compress.quick_start.export import export_checkpoint
from recbole_compress.quick_start.from_checkpoint import model_alone
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.trainers.checkpoint import load_checkpoint, save_checkpoint
from tests.conftest import SEQUENCES, write_interactions
from tests.forged_files import amend_metadata
from tests.refusals import refusal


def trained(folder, **choices):
    settings = {
        "data_path": write_interactions(folder, "tiny", SEQUENCES),
        "epochs": 1,
        "embedding_size": 16,
        "dilations": [1, 2],
        "use_gpu": False,
        "show_progress": False,
        **choices,
    }
    done = run_recbole_compress("CpRecNextItNet", "tiny", config_dict=settings)
    return done["checkpoint"], done


@pytest.fixture
def checkpoint(in_tmp):
    return trained(in_tmp)


def test_metrics_of_the_file_are_those_of_the_model(checkpoint, capsys) -> None:
    path, trained = checkpoint
    assert main(["export", path, "-o", "m.onnx", "--k=3"]) == 0
    assert "largest deviation" in capsys.readouterr().out
    assert main(["evaluate", "m.onnx", "--card_path=card.json", f"--data_path={Path.cwd()}"]) == 0
    card = json.loads(Path("card.json").read_text())
    assert card["metrics"]["test"] == pytest.approx(dict(trained["test_result"]))
    assert card["size_bytes"]["file"] == Path("m.onnx").stat().st_size
    assert card["latency_ms"]["runtime"] == "onnxruntime"
    recommender = Recommender("m.onnx")
    assert recommender.info["metrics"]["test"] == pytest.approx(dict(trained["test_result"]))
    assert recommender.info["train_rows_sha256"]
    assert str(Path.cwd()) not in json.dumps(recommender.info)  # what is where is nobody's business
    capsys.readouterr()
    assert main(["recommend", "m.onnx", f"--items={recommender.items[0]}"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_catalogue_of_fewer_than_ten_items_is_recommended_whole(in_tmp) -> None:
    few = [[f"i{(u + s) % 5}" for s in range(4)] for u in range(20)]
    settings = {
        **{"data_path": write_interactions(in_tmp, "few", few), "epochs": 1, "topk": [3]},
        **{"embedding_size": 16, "dilations": [1, 2], "use_gpu": False, "show_progress": False},
        **{"item_embedding": "dense", "item_head": "tied", "valid_metric": "NDCG@3"},
    }
    done = run_recbole_compress("CpRecNextItNet", "few", config_dict=settings)
    export_checkpoint(done["checkpoint"], "m.onnx")
    assert len(Recommender("m.onnx").recommend(["i1"])) == 5


def test_integers_of_a_quantized_checkpoint_are_exported(checkpoint, capsys) -> None:
    path, _ = checkpoint
    quantize = ["quantize", path, "--recipe=ptq", "--weight-bits=4", "--table-bits=4"]
    assert main([*quantize, "-o", "q.pth"]) == 0
    assert main(["export", "q.pth", "-o", "q.onnx"]) == 0
    assert Recommender("q.onnx").info["bits"]["table_bits"] == 4
    assert main(["export", "q.pth", "-o", "r.onnx", "--table-bits=8"]) == 2
    assert "quantized already" in capsys.readouterr().err
    assert not Path("r.onnx").exists()


@pytest.mark.slow
def test_bits_without_an_operator_of_their_own_are_exported(checkpoint) -> None:
    path, _ = checkpoint
    assert main(["export", path, "-o", "m.onnx", "--table-bits=3", "--weight-bits=5"]) == 0
    bits = Recommender("m.onnx").info["bits"]
    assert (bits["table_bits"], bits["weight_bits"]) == (3, 5)


@pytest.mark.slow
def test_a_file_is_no_larger_than_asked(in_tmp, capsys) -> None:
    path, _ = trained(in_tmp, embedding_size=64)
    sizes = {}
    for bits in (2, 8):
        options = {"table_bits": bits, "weight_bits": bits}
        sizes[bits] = export_checkpoint(path, "m.onnx", **options).size_bytes
    most = (sizes[2] + sizes[8]) // 2
    assert main(["export", path, "-o", "m.onnx", f"--max-bytes={most}"]) == 0, capsys.readouterr()
    assert most - 6_000 < Path("m.onnx").stat().st_size <= most
    bits = Session("m.onnx").said("bits")
    assert bits == {"table_bits": 8, "weight_bits": 8, "max_bytes": most, "activation_bits": 32}
    done = export_checkpoint(path, "m.onnx", table_bits=4, weight_bits=4, max_bytes="1MB")
    assert done.size_bytes < sizes[8]
    capsys.readouterr()
    assert main(["export", path, "-o", "small.onnx", "--max-bytes=1kB"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]  # behind what the log of the training shows
    assert error.startswith("error: max_bytes=1000: the smallest file of this model")
    assert not Path("small.onnx").exists()


def test_a_size_chooses_among_the_bits_that_have_an_operator(checkpoint, capsys) -> None:
    asked = ["--max-bytes=1MB", "--table-bits=16"]
    error = refusal(capsys, ["export", checkpoint[0], "-o", "s.onnx", *asked])
    assert "table_bits=16: max_bytes chooses 2, 4 or 8 bits" in error
    assert not Path("s.onnx").exists()


def test_what_short_scales_cannot_hold_has_long_ones(checkpoint) -> None:
    state = load_checkpoint(checkpoint[0])
    state["state_dict"]["item_head.weight"] *= 1e8  # a scale above all that float16 knows
    save_checkpoint(state, "huge.pth")
    smallest = export_checkpoint("huge.pth", "m.onnx", table_bits=2, weight_bits=2).size_bytes
    most = smallest + 1_000
    assert export_checkpoint("huge.pth", "m.onnx", max_bytes=most).size_bytes <= most


@pytest.mark.slow
def test_codes_beside_integers_are_exported(in_tmp, capsys) -> None:
    choices = {"item_embedding": "product_quantized", "item_head": "tied_codes", "pq_splits": 4}
    path, _ = trained(in_tmp, **choices)
    quantize = ["quantize", path, "--recipe=ptq", "--weight-bits=4", "--table-bits=4"]
    assert main([*quantize, "-o", "q.pth"]) == 0
    assert main(["export", "q.pth", "-o", "q.onnx"]) == 0, capsys.readouterr().err
    codes = load_checkpoint("q.pth")["state_dict"]["item_embedding.codes"].numpy()
    stored = [numpy_helper.to_array(tensor) for tensor in onnx.load("q.onnx").graph.initializer]
    assert codes.any() and any(np.array_equal(array, codes) for array in stored)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--table-bits=9"], "table_bits=9"),
        (["--weight-bits=16"], "weight_bits=16"),
        (["--k=0"], "k=0"),
        (["--tokens=perhaps"], "tokens="),
        (["--data_path=nowhere"], "for the item tokens"),
        (["--data_path=other"], "knows other items than data set 'tiny'"),
        (["--learning_rate=0.1"], "learning_rate=0.1: not read by export"),
        (["--exclud_history=True"], "did you mean 'exclude_history'"),
        (["--exclude_history=perhaps"], "exclude_history="),
    ],
)
def test_a_wrong_option_leaves_no_file(checkpoint, capsys, options, message) -> None:
    path, _ = checkpoint
    write_interactions(Path("other"), "tiny", SEQUENCES[1:])
    assert message in refusal(capsys, ["export", path, "-o", "m.onnx", *options])
    assert not Path("m.onnx").exists()


def test_tokens_are_those_of_the_split_files(in_tmp, capsys) -> None:
    """A plain .inter beside them numbers its items in another order."""
    write_interactions(in_tmp, "both", SEQUENCES[::-1])
    head = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
    for part, upto in (("train", 4), ("valid", 5), ("test", 6)):
        rows = [
            f"u{user}\t{' '.join(map(str, items[: upto - 1]))}\t{items[upto - 1]}"
            for user, items in enumerate(SEQUENCES)
            if len(items) >= upto
        ]
        (in_tmp / "both" / f"both.{part}.inter").write_text(head + "\n".join(rows) + "\n")
    settings = {"data_path": str(in_tmp), "epochs": 1, "embedding_size": 16, "use_gpu": False}
    done = run_recbole_compress("CpRecGRU4Rec", "both", config_dict=settings)
    assert main(["export", done["checkpoint"], "-o", "m.onnx", f"--data_path={in_tmp}"]) == 0
    assert "largest deviation" in capsys.readouterr().out
    assert main(["quantize", done["checkpoint"], "-o", "q.pth", "--recipe=ptq"]) == 0
    assert main(["evaluate", "q.pth", f"--data_path={in_tmp}"]) == 0
    assert set(Recommender("m.onnx").items) <= {str(item) for items in SEQUENCES for item in items}


def test_sampled_candidates_are_ranked_by_the_file(checkpoint) -> None:
    """Not by the random weights of the model that stands in for it, whose loss nobody is told."""
    path, _ = checkpoint
    session = Session(export_checkpoint(path, "m.onnx", tokens=False).path)
    restored = model_alone(path, use_gpu=False)
    config = config_of(session, {})
    stand_in = answering_model(session, config, Catalogue(config, **restored.catalogue))
    rows = {
        stand_in.ITEM_SEQ: torch.tensor([[3, 4, 0], [3, 4, 0], [7, 0, 0]]),
        stand_in.ITEM_SEQ_LEN: torch.tensor([2, 2, 1]),
        stand_in.ITEM_ID: torch.tensor([3, 9, 20]),  # the first one is in its own history
    }
    with torch.no_grad():
        expected = restored.model.predict(rows)
    assert torch.allclose(stand_in.predict(rows), expected, atol=1e-5)
    with pytest.raises(NotImplementedError, match="has no loss"):
        stand_in.calculate_loss(rows)


@pytest.mark.slow
def test_a_file_does_not_say_what_is_overwritten(checkpoint) -> None:
    path, _ = checkpoint
    export_checkpoint(path, "m.onnx", data_path=str(Path.cwd()), all_scores=True)
    places = {"ranks_path": "ranks.npz", "card_path": "card.json", "dataset_save_path": "data.pth"}
    amend_metadata("m.onnx", lambda said: said["configuration"].update(places, save_dataset=True))
    before = {name: os.stat(name).st_mtime_ns for name in os.listdir()}
    evaluate_file("m.onnx", "mine.json", data_path=str(Path.cwd()))
    assert set(os.listdir()) - set(before) <= {"mine.json", "log_tensorboard", "log", "saved"}


def test_no_command_writes_over_what_it_reads(checkpoint, capsys) -> None:
    path, _ = checkpoint
    export_checkpoint(path, "m.onnx", tokens=False)
    os.symlink(path, "link.pth")
    for command, file, out in (
        ("export", path, path),
        ("export", path, "link.pth"),
        ("quantize", path, "./" + path),
        ("evaluate", path, path),
        ("evaluate", "m.onnx", "m.onnx"),
    ):
        before = Path(file).read_bytes()
        line = refusal(capsys, [command, file, "-o", out, f"--data_path={Path.cwd()}"])
        assert line.startswith(f"error: {out}: is the file that is read")
        assert Path(file).read_bytes() == before


@pytest.mark.parametrize("changed", [{"table_bits": 16}, {"exclude_history": True}])
def test_metrics_of_another_model_do_not_travel(checkpoint, changed) -> None:
    path, _ = checkpoint
    export_checkpoint(path, "m.onnx", tokens=False, **changed)
    assert Recommender("m.onnx").info["metrics"] is None


@pytest.mark.slow
def test_what_the_history_is_for_travels_with_the_file(checkpoint, capsys) -> None:
    path, _ = checkpoint
    here = f"--data_path={Path.cwd()}"
    assert main(["export", path, "-o", "m.onnx", "--exclude-history", here]) == 0
    recommender = Recommender("m.onnx")
    assert recommender.info["exclude_history"] is True
    assert recommender.info["configuration"]["exclude_history"] is True
    item = recommender.items[0]
    capsys.readouterr()
    command = ["recommend", "m.onnx", f"--items={item}", f"--k={len(recommender.items)}"]
    shown = []
    for more in ([], ["--exclude_history=False"]):
        assert main([*command, *more]) == 0
        shown.append({line.split()[1] for line in capsys.readouterr().out.splitlines()})
    assert shown[1] - shown[0] == {item}


@pytest.mark.slow
def test_a_file_says_that_it_rounds_no_activations(checkpoint, capsys) -> None:
    path, _ = checkpoint
    bits = ["--weight-bits=8", "--table-bits=8", "--activation-bits=4"]
    assert main(["quantize", path, "-o", "q.pth", "--recipe=ptq", *bits]) == 0
    assert main(["export", "q.pth", "-o", "q.onnx", f"--data_path={Path.cwd()}"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("activation_bits=4 of the checkpoint: the file does not round")
    assert Recommender("q.onnx").info["bits"]["activation_bits"] == 32
    for part in ("configuration", "model", "bits"):
        shutil.copy("q.onnx", "less.onnx")
        amend_metadata("less.onnx", lambda said, part=part: said.pop(part))
        assert f"says nothing of its {part}" in refusal(capsys, ["evaluate", "less.onnx"])
    amend_metadata("q.onnx", lambda said: said["bits"].update(activation_bits=4))  # an older file
    card = evaluate_file("q.onnx", None, data_path=str(Path.cwd()))
    assert card["choices"]["activation_bits"] == 32 and card["choices"]["weight_bits"] == 8
