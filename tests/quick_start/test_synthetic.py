"""Made-up sequences beside the real ones, as a user types it; and recipes without a data folder."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.quantize import quantize_checkpoint
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.quick_start.synthetic import compare_with_real_data
from recbole_compress.trainers.checkpoint import load_checkpoint
from tests.conftest import write_interactions

# One chain that everybody walks: what is popular can be learnt.
CHAIN = [[f"i{min(i, 3 * (u % 12))}" for i in range(u % 12, u % 12 + 8)] for u in range(60)]


@pytest.fixture
def checkpoint(in_tmp):
    path = write_interactions(in_tmp / "data", "tiny", CHAIN)
    settings = {"epochs": 12, "MAX_ITEM_LIST_LENGTH": 6, "data_path": path, "threads": 1}
    settings |= {"metrics": ["NDCG"], "valid_metric": "NDCG@10", "show_progress": False}
    return run_recbole_compress("CpRecSASRec", "tiny", config_dict=settings)["checkpoint"]


def test_frequencies_beside_the_real_ones(checkpoint, capsys):
    assert main(["synthetic", checkpoint, "--df_sequences=300"]) == 0
    printed = capsys.readouterr().out
    found = json.loads(Path(checkpoint.replace(".pth", ".synthetic.json")).read_text())
    by_name = {source["name"]: source for source in found["sources"]}
    assert set(by_name) == {"sampled", "gumbel", "epsilon_greedy", "noise"}
    assert all(len(s["counts"]) == len(found["real"]) for s in found["sources"])
    assert by_name["noise"]["coverage"] == 1.0
    assert by_name["sampled"]["spearman"] > by_name["noise"]["spearman"] + 0.2
    stem = checkpoint.removesuffix(".pth")
    names = [*by_name]
    begun, made, *of_ways, written = printed.splitlines()
    assert begun == "CpRecSASRec on tiny: reading the data set"
    assert made == f"300 sequences in each of 4 ways: {', '.join(names)}"
    assert [line.split(": rank correlation")[0] for line in of_ways[:4]] == names
    assert written.startswith(f"written: {stem}.synthetic.json")


def test_the_games_generator_is_one_way_more(checkpoint, in_tmp, capsys):
    small = ["--df_epochs=1", "--df_sequences=60", "--df_valid_sequences=20", "--table_bits=4"]
    small += ["--df_batch_size=10", "--df_student_steps=2", "--df_generator_learning_rate=0.1"]
    before = sorted(in_tmp.rglob("*.pth"))
    assert main(["synthetic", checkpoint, "--quantization_recipe=adversarial", *small]) == 0
    assert "the game at 4 bits, for its generator" in capsys.readouterr().out
    found = json.loads(Path(checkpoint.replace(".pth", ".synthetic.json")).read_text())
    by_name = {source["name"]: source for source in found["sources"]}
    assert [*by_name] == ["sampled", "gumbel", "epsilon_greedy", "noise", "game"]
    # Of the same random numbers, by the same way: what differs is what the generator learned.
    assert sum(by_name["game"]["counts"]) == sum(by_name["gumbel"]["counts"])
    assert by_name["game"]["counts"] != by_name["gumbel"]["counts"]
    assert 0.1 <= found["real_head"] <= 1.0 and 0 < by_name["game"]["overlap"] <= 1.0
    assert sorted(in_tmp.rglob("*.pth")) == before


def test_a_generator_that_stays_as_it_is_makes_what_gumbel_makes(checkpoint):
    small = {"df_epochs": 1, "df_sequences": 40, "df_valid_sequences": 20, "table_bits": 4}
    done = quantize_checkpoint(
        checkpoint, "q.pth", quantization_recipe="adversarial", df_generator_steps=0, **small
    )
    found = compare_with_real_data(checkpoint, None, {"of the game": done.generator}, **small)
    by_name = {source["name"]: source for source in found["sources"]}
    assert by_name["of the game"]["counts"] == by_name["gumbel"]["counts"]
    state = load_checkpoint("q.pth")
    assert not any("generator" in key for part in (state, state["quantization"]) for key in part)


def test_what_takes_long_is_shown_where_it_can_be_seen(checkpoint, capsys, monkeypatch):
    command = ["synthetic", checkpoint, "--df_sequences=300", "--show_progress=True"]
    assert main(command) == 0
    assert "sampled" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(command) == 0
    bars = capsys.readouterr().err
    assert all(f"{name}: 100%" in bars for name in ("sampled", "gumbel", "noise"))


@pytest.mark.parametrize("recipe", ["self_sample", "adversarial", "noise"])
def test_recipes_run_where_there_is_no_data(checkpoint, recipe, in_tmp, capsys):
    shutil.rmtree(in_tmp / "data")
    small = ["--df_epochs=1", "--df_sequences=40", "--df_valid_sequences=20"]
    command = [
        "quantize",
        checkpoint,
        f"--recipe={recipe}",
        "--table-bits=2",
        *small,
        "-o",
        "q.pth",
    ]
    assert main(command) == 0
    assert load_checkpoint("q.pth")["quantization"]["recipe"] == recipe


def test_the_papers_preset_is_accepted(checkpoint, capsys):
    small = ["--df_epochs=1", "--df_sequences=40", "--df_valid_sequences=20"]
    preset = __file__.rsplit("tests", 1)[0] + "properties/recipe/precq_paper.yaml"
    command = ["quantize", checkpoint, f"--config_files={preset}", "--weight-bits=4", *small]
    assert main([*command, "-o", "q.pth"]) == 0
    described = load_checkpoint("q.pth")["quantization"]
    assert described["recipe"] == "adversarial" and described["spec"]["granularity"] == "tensor"


def test_no_checkpoint_is_one_line(capsys):
    assert main(["synthetic"]) == 2
    assert "no file named" in capsys.readouterr().err
