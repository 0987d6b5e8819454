"""``recbole-compress compare`` as a user types it; child processes only where it matters."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
import yaml

from recbole_compress.comparison import runs
from recbole_compress.quick_start.command_line import main
from recbole_compress.trainers.checkpoint import load_checkpoint
from tests.conftest import SEQUENCES, write_interactions

SHARED = {
    "epochs": 1,
    "MAX_ITEM_LIST_LENGTH": 6,
    "train_batch_size": 64,
    "threads": 1,
    "metrics": ["NDCG", "Hit", "MRR"],
    "topk": [5, 10],
    "valid_metric": "NDCG@10",
    "embedding_dropout_prob": 0.3,  # of our models only
}
RUNS = {
    "ours, small": {"model": "CpRecGRU4Rec", "embedding_size": 8, "hidden_size": 8},
    "gru": {"model": "GRU4Rec", "embedding_size": 8, "hidden_size": 8},
    "Pop": {"model": "Pop", "seeds": [1]},
}
KILL = """
import os, signal, sys
from recbole_compress.config.model_names import find_model
from recbole_compress.quick_start.command_line import main
model = find_model("GRU4Rec")
loss, calls = model.calculate_loss, [0]
def calculate_loss(self, interaction):
    calls[0] += 1
    if calls[0] == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(self, interaction)
model.calculate_loss = calculate_loss
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def folder(in_tmp):
    write_interactions(in_tmp / "data", "tiny", SEQUENCES)
    return in_tmp


@pytest.fixture
def started(monkeypatch):
    """Runs happen in this process, which is quicker; the list tells which were started."""
    names = []

    def run(self, command, log):
        arguments = command[len(runs.COMMAND) :]
        (card,) = [a for a in arguments if a.startswith("--card_path=")]
        names.append(Path(card).name.removesuffix(".card.json"))
        return main(arguments)

    monkeypatch.setattr(runs._Children, "run", run)
    return names


def write_experiment(folder, **more):
    document = {
        "about": "Small models on few data.",
        "shared": {**SHARED, "data_path": str(folder / "data"), **more.pop("shared", {})},
        "datasets": ["tiny"],
        "seeds": [1, 2],
        "runs": RUNS,
        "reference": "gru",
        **more,
    }
    (folder / "exp.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return str(folder / "exp.yaml")


def document_in(folder):
    return json.loads((folder / "runs/compare/exp/comparison.json").read_text())


def test_an_experiment_from_yaml_to_tables(folder, started, capsys):
    pytest.importorskip("matplotlib")
    assert main(["compare", write_experiment(folder)]) == 0
    assert started == ["ours-small-1", "gru-1", "Pop-1", "ours-small-2", "gru-2"]
    document = document_in(folder)
    assert document["missing"] == []
    entries = document["datasets"]["tiny"]["entries"]
    assert list(entries) == list(RUNS)
    for name, entry in entries.items():
        own = [run for run in document["runs"] if run["entry"] == name]
        values = [run["card"]["metrics"]["test"]["ndcg@10"] for run in own]
        assert entry["metrics"]["test"]["ndcg@10"]["mean"] == pytest.approx(sum(values) / len(own))
        assert [run["settings"]["seed"] for run in own] == entry["seeds"]
        shares = [group["share_of_rows"] for group in entry["popularity"].values()]
        assert sum(shares) == pytest.approx(1)
        overall = sum(
            group["share_of_rows"] * (group["ndcg@10"] or 0)
            for group in entry["popularity"].values()
        )
        assert overall == pytest.approx(sum(values) / len(own), abs=1e-4)  # printed: 4 digits
        difference = entry["against_reference"]
        assert (difference is None) == (name == "gru")
        if difference is not None:
            found = difference["ndcg@10"]
            assert found["low"] <= found["relative"] <= found["high"]
            assert found["users"] == len(SEQUENCES)
    # one row per user here, so the mean over users is the metric itself
    ours, gru = (entries[n]["metrics"]["test"]["ndcg@10"]["mean"] for n in ("ours, small", "gru"))
    relative = entries["ours, small"]["against_reference"]["ndcg@10"]["relative"]
    assert relative == pytest.approx(ours / gru - 1, abs=0.01)

    settings = [run["settings"] for run in document["runs"] if run["entry"] == "gru"]
    assert all("embedding_dropout_prob" not in each for each in settings)
    assert str(folder) not in json.dumps(document)  # true wherever it is read

    page = (folder / "runs/compare/exp/comparison.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ours, small |")]
    assert len(rows) == 2
    mean = entries["ours, small"]["metrics"]["test"]["ndcg@10"]
    assert f"{mean['mean']:.4f} ± {mean['std']:.4f}" in rows[0]
    assert "blockwise / gru4rec / none / two_level" in rows[1]
    assert f"{entries['ours, small']['parameters']['total']:,d}" in rows[1]
    ratio = entries["gru"]["size_bytes"]["total"] / entries["ours, small"]["size_bytes"]["total"]
    assert "| x gru |" in page and f"| {ratio:.2f} |" in rows[1]
    assert all(len(row) < 200 for row in rows)
    for fragment in ("difference from gru", "third of the train interactions", "Pop"):
        assert fragment in page.replace("\n", " ")
    with open(folder / "runs/compare/exp/comparison.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["entry"] for line in lines] == list(RUNS)
    assert float(lines[0]["test_ndcg@10_mean"]) == mean["mean"]
    assert (folder / "runs/compare/exp/comparison.png").stat().st_size > 10_000

    # Again: nothing is left to be done. A changed setting is another run; others are kept.
    started.clear()
    assert main(["compare", write_experiment(folder)]) == 0
    assert started == []
    changed = {**RUNS, "gru": {**RUNS["gru"], "dropout_prob": 0.5}}
    assert main(["compare", write_experiment(folder, runs=changed), "--seeds=2"]) == 0
    assert started == ["gru-2"]
    started.clear()
    assert main(["compare", write_experiment(folder), "--table", "--only=Pop,ours, small"]) == 0
    assert started == []
    missing = document_in(folder)["missing"]
    assert [(each["entry"], each["seed"]) for each in missing] == [("gru", 2)]
    assert "- gru, seed 2: not run yet" in capsys.readouterr().out


def test_goes_on_from_the_results_file_alone(folder, started):
    path = write_experiment(folder)
    assert main(["compare", path, "--seeds=1"]) == 0
    before = document_in(folder)
    shutil.rmtree(folder / "runs/compare/exp/runs")
    started.clear()
    assert main(["compare", path]) == 0
    assert started == ["ours-small-2", "gru-2"]
    document = document_in(folder)
    assert [run for run in document["runs"] if run["seed"] == 1] == before["runs"]
    ours = document["datasets"]["tiny"]["entries"]["ours, small"]
    assert ours["seeds"] == [1, 2] and ours["metrics"]["test"]["ndcg@10"]["std"] is not None
    assert ours["against_reference"]["ndcg@10"]["users"] == len(SEQUENCES)  # of the second seed

    (folder / "runs/compare/exp/comparison.json").write_text('{"runs": [{}]}')
    assert main(["compare", path]) == 2


def test_a_failing_run_does_not_stop_the_others(folder, capfd):
    """Real processes, two at a time, from names of models."""
    data = f"--data_path={folder / 'data'}"
    settings = ["--epochs=1", "--MAX_ITEM_LIST_LENGTH=6", "--threads=1", "--hidden_size=7"]
    command = ["compare", "--models=SASRec,GRU4Rec", "--datasets=tiny", "--jobs=2", data]
    assert main([*command, *settings, "--n_heads=2", "--output=out"]) == 1
    out = capfd.readouterr().out
    (line,) = [
        line for line in out.splitlines() if "SASRec, seed 2020: failed" in line and "[" in line
    ]
    assert "not a multiple of the number of attention heads" in line
    log = Path(line.split("log: ")[1])
    assert "Traceback" in log.read_text()
    document = json.loads(Path("out/comparison.json").read_text())
    assert list(document["datasets"]["tiny"]["entries"]) == ["GRU4Rec"], document["missing"]
    (missing,) = document["missing"]
    assert missing["entry"] == "SASRec" and "attention heads" in missing["reason"]


def test_a_killed_run_is_resumed_not_begun_anew(folder, monkeypatch):
    gru = {"gru": RUNS["gru"]}
    path = write_experiment(folder, runs=gru, shared={"epochs": 6, "stopping_step": 10})
    command = ["compare", path, "--seeds=1"]
    assert main([*command, "--output=whole"]) == 0

    with monkeypatch.context() as killing:
        killing.setattr(runs, "COMMAND", [sys.executable, "-c", KILL])
        assert main([*command, "--output=cut"]) == 1
    document = json.loads(Path("cut/comparison.json").read_text())
    assert f"status {-signal.SIGKILL}" in document["missing"][0]["reason"]
    (checkpoint,) = (
        p for p in Path("cut/runs/tiny/gru-1").glob("*.pth") if not p.stem.endswith(".resume")
    )

    assert main([*command, "--output=cut"]) == 0
    log = Path("cut/runs/tiny/gru-1.log").read_text()
    assert f"Resuming {checkpoint}" in log and "Resuming" not in log.split("Resuming", 1)[0]
    ends = []
    for name in ("whole", "cut"):
        (run,) = json.loads(Path(name, "comparison.json").read_text())["runs"]
        ends.append((run, load_checkpoint(str(Path(name, run["card"]["files"]["checkpoint"])))))
    (whole, whole_end), (cut, cut_end) = ends
    assert cut["card"]["metrics"] == whole["card"]["metrics"]
    assert Path(cut["card"]["files"]["checkpoint"]).name == checkpoint.name
    for name, weight in whole_end["state_dict"].items():
        torch.testing.assert_close(cut_end["state_dict"][name], weight, rtol=0, atol=0)


def test_a_reference_for_each_data_set(folder, started, capsys):
    write_interactions(folder / "data", "other", SEQUENCES)
    entries = {**RUNS, "narrow": {**RUNS["gru"], "embedding_size": 4, "datasets": ["other"]}}
    more = {"datasets": ["tiny", "other"], "reference": {"tiny": "gru", "other": "narrow"}}
    path = write_experiment(folder, runs=entries, **more)
    assert main(["compare", path, "--seeds=1", "--only=ours, small"]) == 0
    assert set(started) == {"gru-1", "ours-small-1", "narrow-1"}
    tables = (folder / "runs/compare/exp/comparison.md").read_text()
    of_tiny, of_other = tables.split("## other")
    assert "difference from gru" in of_tiny and "difference from narrow" in of_other
    of_one = document_in(folder)["datasets"]["other"]["entries"]
    assert of_one["narrow"]["against_reference"] is None and of_one["gru"]["against_reference"]
    for wrong, message in (({"tyni": "gru"}, "'tyni' is no data set"), ({"tiny": "gur"}, "'gur'")):
        path = write_experiment(folder, runs=entries, **{**more, "reference": wrong})
        assert main(["compare", path]) == 2
        assert message in capsys.readouterr().err


def test_a_quantized_model_is_an_entry_like_others(folder, started):
    own = {**RUNS["gru"], "quantization_recipe": "ptq", "table_bits": 4}
    entries = {"gru": RUNS["gru"], "4 bits": {**own, "model": "DFQGRU4Rec"}}
    path = write_experiment(folder, runs=entries)
    assert main(["compare", path, "--seeds=1"]) == 0
    of_full, of_quantized = (run["card"] for run in document_in(folder)["runs"])
    assert of_quantized["model"] == "DFQGRU4Rec"
    assert of_quantized["size_bytes"]["total"] < of_full["size_bytes"]["total"] / 2
    files = runs.RunFiles(folder / "runs/compare/exp/runs/tiny/4-bits-1")
    assert str(files.checkpoint()).endswith(".quantized.pth")
    # What a run that was cut off would train on is the full-precision model.
    assert files.resumable() == Path(str(files.checkpoint()).replace(".quantized", ""))


def test_quantized_entries_of_one_checkpoint_leave_it_alone(folder, started):
    own = {**RUNS["gru"], "model": "DFQGRU4Rec", "quantization_recipe": "ptq"}
    own["checkpoints"] = {"full_precision_path": "gru"}
    entries = {"gru": RUNS["gru"], **{f"{n} bits": {**own, "table_bits": n} for n in (8, 4)}}
    path = write_experiment(folder, runs=entries)
    for _ in range(2):
        assert main(["compare", path, "--seeds=1"]) == 0
        made = folder / "runs/compare/exp/runs/tiny"
        assert [file.suffixes for file in (made / "gru-1").iterdir()] == [[".pth"]]
        cards = [json.loads((made / f"{n}-bits-1.card.json").read_text()) for n in (8, 4)]
        assert [card["choices"]["table_bits"] for card in cards] == [8, 4]
        (made / "4-bits-1.card.json").unlink()


def test_a_run_takes_the_checkpoint_of_another(folder, started, capsys):
    small = {"embedding_size": 8, "hidden_size": 8}
    entries = {
        "gru": {"model": "CpRecGRU4Rec", "item_embedding": "dense", "item_head": "tied", **small},
        "student": {
            "model": "CpRecGRU4Rec",
            **small,
            "recipe": "distillation",
            "checkpoints": {"teacher_path": "gru"},
        },
        "Pop": {"model": "Pop"},
    }
    path = write_experiment(folder, runs=entries)
    assert main(["compare", path, "--only=student", "--jobs=2"]) == 0
    assert started.index("gru-1") < started.index("student-1")
    for run in document_in(folder)["runs"]:
        if run["entry"] == "student":
            assert run["settings"]["teacher_path"] == "the checkpoint of gru"
            teacher = run["card"]["files"]["teacher"]
            assert f"gru-{run['seed']}/" in teacher
    started.clear()
    assert main(["compare", path, "--only=student"]) == 0
    assert started == []

    shutil.rmtree(folder / "runs/compare/exp/runs/tiny/gru-1")
    (folder / "runs/compare/exp/runs/tiny/student-1.card.json").unlink()
    (folder / "runs/compare/exp/comparison.json").unlink()
    assert main(["compare", path, "--only=student"]) == 1
    assert "needs the checkpoint of 'gru', which is not there" in capsys.readouterr().out


def test_a_run_killed_while_its_teacher_trains_is_resumed(folder, monkeypatch):
    student = {
        "model": "TTSASRec",
        "recipe": "distillation",
        "embedding_size": 8,
        "inner_size": 8,
        "tt_ranks": 2,
    }
    path = write_experiment(
        folder,
        runs={"student": student},
        reference="student",
        shared={"epochs": 3, "stopping_step": 10},
    )
    command = ["compare", path, "--seeds=1"]
    assert main([*command, "--output=whole"]) == 0

    with monkeypatch.context() as killing:
        kill = KILL.replace("GRU4Rec", "TTSASRec").replace("== 20", "== 12")
        killing.setattr(runs, "COMMAND", [sys.executable, "-c", kill])
        assert main([*command, "--output=cut"]) == 1
    files = Path("cut/runs/tiny/student-1")
    assert not list(files.glob("*.pth")), "killed too late: the student has begun"
    assert list(files.glob("teacher/*.pth")), "killed too early: nothing to go on with"

    assert main([*command, "--output=cut"]) == 0
    assert "Resuming cut/runs/tiny/student-1/teacher/" in Path(f"{files}.log").read_text()
    ends = []
    for name in ("whole", "cut"):
        (run,) = json.loads(Path(name, "comparison.json").read_text())["runs"]
        ends.append((run, load_checkpoint(str(Path(name, run["card"]["files"]["checkpoint"])))))
    (whole, whole_end), (cut, cut_end) = ends
    assert cut["card"]["metrics"] == whole["card"]["metrics"]
    for name, weight in whole_end["state_dict"].items():
        torch.testing.assert_close(cut_end["state_dict"][name], weight, rtol=0, atol=0)


def test_latency_in_turns(folder, started):
    path = write_experiment(folder)
    assert main(["compare", path, "--seeds=1", "--latency"]) == 0
    entries = document_in(folder)["datasets"]["tiny"]["entries"]
    for name, entry in entries.items():
        measured = entry["latency_in_turns_ms"]
        assert 0 < measured["p50"] <= measured["p95"], name
        assert len(measured["p50_of_rounds"]) > 1
    page = (folder / "runs/compare/exp/comparison.md").read_text()
    assert f"| {entries['Pop']['latency_in_turns_ms']['p50']:.3g} |" in page
    assert "taking turns" in page.replace("\n", " ")


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
    ],
)
def test_bad_input_is_one_line_before_anything_is_run(folder, started, capsys, arguments, message):
    write_experiment(folder)
    data = [] if not arguments or ".yaml" in arguments[0] else [f"--data_path={folder / 'data'}"]
    assert main(["compare", *arguments, *data]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
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
        ({"seed": [1]}, "unknown key 'seed'; did you mean 'seeds'"),
        ({"runs": {"a b": {"model": "Pop"}, "a/b": {"model": "Pop"}}, "reference": None}, "rename"),
        ({"shared": {"lerning_rate": 0.1}}, "learning_rate"),
        ({"runs": {"gru": {"model": "GRU4Rec", "embedding_dropout_prob": 0.1}}}, "CpRecGRU4Rec"),
    ],
)
def test_a_broken_experiment_is_one_line(folder, started, capsys, more, message):
    assert main(["compare", write_experiment(folder, **more)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
    assert started == []


def test_yaml_that_is_none(folder, capsys):
    (folder / "exp.yaml").write_text("runs: [\n")
    assert main(["compare", "exp.yaml"]) == 2
    assert "not valid yaml" in capsys.readouterr().err
