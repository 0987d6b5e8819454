"""From a checkpoint to a file and back to RecBole's metrics, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from recbole_compress.artifact import Recommender
from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.trainers.checkpoint import load_checkpoint
from tests.conftest import SEQUENCES, write_interactions
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
    assert str(Path.cwd()) not in json.dumps(recommender.info)  # what is where is nobody's business
    capsys.readouterr()
    assert main(["recommend", "m.onnx", f"--items={recommender.items[0]}"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_integers_of_a_quantized_checkpoint_are_exported(checkpoint, capsys) -> None:
    path, _ = checkpoint
    assert main(["quantize", path, "-o", "q.pth", "--weight-bits=4", "--table-bits=4"]) == 0
    assert main(["export", "q.pth", "-o", "q.onnx"]) == 0
    assert Recommender("q.onnx").info["bits"]["table_bits"] == 4
    assert main(["export", "q.pth", "-o", "r.onnx", "--table-bits=8"]) == 2
    assert "quantized already" in capsys.readouterr().err
    assert not Path("r.onnx").exists()


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
        (["--table-bits=3"], "table_bits=3"),
        (["--weight-bits=16"], "weight_bits=16"),
        (["--k=0"], "k=0"),
        (["--tokens=perhaps"], "tokens="),
        (["--data_path=nowhere"], "for the item tokens"),
        (["--data_path=other"], "knows other items than data set 'tiny'"),
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
