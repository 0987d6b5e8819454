"""``recbole-compress compare`` as a user types it; child processes only where it matters."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from recbole_compress.comparison import document as document_module
from recbole_compress.quick_start import compare as compare_module
from recbole_compress.quick_start.command_line import main
from recbole_compress.trainers.checkpoint import load_checkpoint, save_checkpoint
from tests.comparison.experiments import RUNS, document_in, write_experiment
from tests.conftest import SEQUENCES, write_interactions


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


def test_goes_on_from_the_results_file_alone(folder, started, capsys):
    path = write_experiment(folder)
    assert main(["compare", path, "--seeds=1"]) == 0
    before = document_in(folder)
    shutil.rmtree(folder / "runs/compare/exp/runs")
    started.clear()
    # The same runs: what was told of them still holds.
    assert main(["compare", path, "--seeds=1"]) == 0
    assert started == [] and document_in(folder)["datasets"] == before["datasets"]
    told = before["datasets"]["tiny"]["entries"]["ours, small"]
    assert told["against_reference"] and told["popularity"]

    assert main(["compare", path]) == 0
    assert started == ["ours-small-2", "gru-2"]
    document = document_in(folder)
    assert [run for run in document["runs"] if run["seed"] == 1] == before["runs"]
    ours = document["datasets"]["tiny"]["entries"]["ours, small"]
    assert ours["seeds"] == [1, 2] and ours["metrics"]["test"]["ndcg@10"]["std"] is not None
    assert ours["against_reference"] is ours["popularity"] is None
    assert ours["not_compared"] == "rows of some seeds only"

    (folder / "runs/compare/exp/comparison.json").write_text('{"runs": [{}]}')
    assert main(["compare", path]) == 2
    assert "damaged or no comparison" in capsys.readouterr().err


def test_a_choice_of_runs_loses_nothing_of_the_others(folder, started, monkeypatch):
    monkeypatch.setattr(compare_module, "_plot", lambda document, stem: None)  # it takes seconds
    write_interactions(folder / "data", "other", SEQUENCES)
    path = write_experiment(folder, datasets=["tiny", "other"])
    assert main(["compare", path]) == 0
    before = document_in(folder)
    assert before["set_aside"] == {"runs": [], "told": []}
    told = ("datasets", "runs", "missing")
    for choice in ("--only=Pop", "--seeds=2", "--datasets=other", "--reference=Pop"):
        shutil.rmtree(folder / "runs/compare/exp/runs", ignore_errors=True)  # the results alone
        assert main(["compare", path, "--table", choice]) == 0
        chosen = document_in(folder)
        assert any(chosen[key] != before[key] for key in told) and chosen["set_aside"]["told"]
    shutil.rmtree(folder / "runs/compare/exp/runs")
    assert main(["compare", path, "--table"]) == 0
    after = document_in(folder)
    assert {key: after[key] for key in told} == {key: before[key] for key in told}
    assert after["set_aside"]["runs"] == []


def test_a_copied_folder_tells_of_its_own_files(folder, started):
    entries = {
        "full": {"model": "GRU4Rec", "embedding_size": 8, "hidden_size": 8},
        "small": {
            **{"model": "DFQGRU4Rec", "quantization_recipe": "ptq"},
            **{"embedding_size": 8, "hidden_size": 8},
            "checkpoints": {"full_precision_path": "full"},
        },
    }
    path = write_experiment(folder, runs=entries, seeds=[1], reference="full")
    assert main(["compare", path]) == 0
    made = folder / "runs/compare/exp"
    (folder / "far/away").mkdir(parents=True)
    shutil.copytree(made, folder / "far/away/copied")
    assert main(["compare", path, "--table", "--output=far/away/copied"]) == 0
    told = json.loads((folder / "far/away/copied/comparison.json").read_text())
    assert told["runs"] == document_in(folder)["runs"]
    paths = [path for run in told["runs"] for path in run["card"]["files"].values() if path]
    assert len(paths) > 2 and all((made / path).is_file() for path in paths)


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
    assert "error: model=SASRec: cannot be made with these settings" in log.read_text()
    document = json.loads(Path("out/comparison.json").read_text())
    assert list(document["datasets"]["tiny"]["entries"]) == ["GRU4Rec"], document["missing"]
    (missing,) = document["missing"]
    assert missing["entry"] == "SASRec" and "attention heads" in missing["reason"]


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


def test_config_files_are_for_all_runs(folder, started, capsys):
    path = write_experiment(folder, runs={"gru": RUNS["gru"]})
    (folder / "mine.yaml").write_text("dropout_prob: 0.1\nn_item_blocks: 2\n")
    files = "--config_files=mine.yaml"
    assert main(["compare", path, "--seeds=1", files]) == 2
    assert "n_item_blocks (for all runs): unknown key" in capsys.readouterr().err
    (folder / "mine.yaml").write_text("dropout_prob: 0.1\n")
    assert main(["compare", path, "--seeds=1", files]) == 0
    (run,) = document_in(folder)["runs"]
    assert run["settings"]["dropout_prob"] == 0.1
    (folder / "mine.yaml").write_text("seed: 3\n")
    assert main(["compare", path, files]) == 2
    assert "seed=3: a comparison takes --seeds=..." in capsys.readouterr().err


@pytest.mark.slow
def test_latency_in_turns(folder, started, monkeypatch):
    (folder / "of_the_user.py").write_text(
        "from recbole_compress.models import CpRecGRU4Rec\nclass Own(CpRecGRU4Rec): pass\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    entries = {name: RUNS[name] for name in ("gru", "Pop")}
    entries["own"] = {**RUNS["gru"], "model": "of_the_user:Own"}
    path = write_experiment(folder, runs=entries)
    assert main(["compare", path, "--seeds=1", "--latency"]) == 0
    entries = document_in(folder)["datasets"]["tiny"]["entries"]
    assert list(entries) == ["gru", "Pop", "own"]
    for name, entry in entries.items():
        measured = entry["latency_in_turns_ms"]
        assert 0 < measured["p50"] <= measured["p95"], name
        assert len(measured["p50_of_rounds"]) > 1
    page = (folder / "runs/compare/exp/comparison.md").read_text()
    assert f"| {entries['Pop']['latency_in_turns_ms']['p50']:.3g} |" in page
    assert "taking turns" in page.replace("\n", " ")


def test_a_damaged_card_is_made_again_and_a_damaged_latency_is_none(folder, started):
    path = write_experiment(folder, runs={"Pop": RUNS["Pop"]}, reference="Pop")
    assert main(["compare", path]) == 0
    made = folder / "runs/compare/exp/runs/tiny"
    (made / "latency.json").write_text("{}")
    for content in ("[1]", "{}"):
        started.clear()
        (made / "Pop-1.card.json").write_text(content)
        assert main(["compare", path]) == 0
        assert started == ["Pop-1"]


def test_a_setting_of_several_values_is_the_same_the_next_time(folder, started, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # RecBole writes into it
    command = ["compare", "--models=Pop", "--datasets=tiny", f"--data_path={folder / 'data'}"]
    for expected in (["Pop-2020"], []):
        assert main([*command, "--gpu_id=0,1", "--use_gpu=False", "--topk=(5,10)"]) == 0
        assert started == expected
        started.clear()


@pytest.mark.slow
def test_a_default_that_was_another_makes_another_run(folder, started):
    """A tensor train was made in the order of ids before there was a choice."""
    small = {"model": "TTSASRec", "embedding_size": 8, "inner_size": 8, "tt_ranks": 4}
    entries = {
        "open": small,
        "by id": {**small, "tt_item_order": "by_id"},
        "dense": {**small, "item_embedding": "dense"},
    }
    path = write_experiment(folder, runs=entries, reference=None, seeds=[1])

    def compared():
        started.clear()
        assert main(["compare", path]) == 0
        return started

    made = folder / "runs/compare/exp/runs/tiny"
    cards = [made / f"{name}-1.card.json" for name in ("open", "by-id", "dense")]
    assert compared() == ["open-1", "by-id-1", "dense-1"] and compared() == []
    orders = [json.loads(card.read_text())["choices"].pop("tt_item_order", None) for card in cards]
    assert orders == ["scattered", "by_id", None]
    # Earlier cards do not tell, but checkpoints do; results alone are taken at their word.
    for card in cards:
        document = json.loads(card.read_text())
        document["choices"].pop("tt_item_order", None)
        card.write_text(json.dumps(document))
    (of_open,) = (made / "open-1").glob("*.pth")
    assert compared() == []
    (made / "open-1").rename(made / "away")
    assert compared() == []
    (made / "away").rename(made / "open-1")
    state = load_checkpoint(str(of_open))
    del state["config"].final_config_dict["tt_item_order"]
    save_checkpoint(state, str(of_open))
    cards[0].unlink()  # cut off, even: it does not go on in that order
    assert compared() == ["open-1"] and not of_open.exists()
    assert json.loads(cards[0].read_text())["choices"]["tt_item_order"] == "scattered"
    cards[0].write_text(cards[0].read_text().replace("scattered", "by_id"))
    assert compared() == ["open-1"] and compared() == []


def test_runs_without_a_test_split_are_shown_by_their_valid_metrics(folder, started):
    shared = {"eval_args": {"split": {"LS": "valid_only"}}}
    entries = {name: RUNS[name] for name in ("ours, small", "Pop")}
    path = write_experiment(folder, shared=shared, runs=entries, reference="Pop", seeds=[1])
    assert main(["compare", path]) == 0
    document = document_in(folder)
    dataset = document["datasets"]["tiny"]
    assert document["missing"] == [] and list(dataset["entries"]) == list(entries)
    assert dataset["test_rows"] is None
    page = (folder / "runs/compare/exp/comparison.md").read_text()
    for name, entry in dataset["entries"].items():
        assert entry["popularity"] is None and entry["metrics"]["test"] == {}
        assert f"| {name} | {entry['metrics']['valid']['ndcg@10']['mean']:.4f} |" in page


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"metrics": ["ItemCoverage"], "valid_metric": "ItemCoverage@10"}, {}),
        ({"topk": [10]}, {"topk": [5], "valid_metric": "NDCG@5"}),
    ],
)
def test_metrics_that_ranks_do_not_tell(folder, started, first, second):
    """Not even those of the first entry can be told from the ranks that both have."""
    entries = {"first": {"model": "Pop", **first}, "second": {"model": "Pop", **second}}
    path = write_experiment(folder, runs=entries, reference="second", seeds=[1])
    assert main(["compare", path]) == 0
    page = (folder / "runs/compare/exp/comparison.md").read_text()
    assert "items in head" in page and "of the rows" not in page.split("How to read")[0]


def test_seeds_without_rows_are_not_told_by_those_of_others(folder, started):
    entries = {name: RUNS[name] for name in ("ours, small", "gru")}
    path = write_experiment(folder, runs=entries, reference="gru", seeds=[1, 2])
    assert main(["compare", path]) == 0
    for gone in ("ours-small-1", "gru-2"):
        (folder / f"runs/compare/exp/runs/tiny/{gone}.ranks.npz").unlink()
        (folder / "runs/compare/exp/comparison.json").unlink()  # it tells of these very runs
        assert main(["compare", path, "--table"]) == 0
        found = document_in(folder)["datasets"]["tiny"]["entries"]["ours, small"]
        assert found["metrics"]["test"]["ndcg@10"]["n"] == 2
        assert found["against_reference"] is found["popularity"] is None
        assert found["not_compared"] == "rows of some seeds only"


def test_rows_that_are_not_the_same_are_no_pairs(folder, started, monkeypatch):
    later = {"eval_args": {"split": {"RS": [0.5, 0.2, 0.3]}}}
    entries = {
        "Pop": {"model": "Pop"},
        "again": {"model": "Pop", "topk": [5, 10, 20]},
        "later": {"model": "Pop", **later},
    }
    path = write_experiment(folder, runs=entries, reference="Pop", seeds=[1])
    assert main(["compare", path]) == 0
    found = document_in(folder)["datasets"]["tiny"]["entries"]
    assert found["again"]["against_reference"] and "not_compared" not in found["again"]
    assert found["later"]["against_reference"] is None and "not_compared" not in found["Pop"]
    assert found["later"]["not_compared"] == "other test rows"
    page = (folder / "runs/compare/exp/comparison.md").read_text()
    (row,) = [
        line for line in page.splitlines() if line.startswith("| later |") and "other" in line
    ]
    assert "| other test rows | - |" in row and "%" not in row

    # So are the seeds of one entry: nothing can be averaged per user.
    real = document_module._ranks

    def of_other_rows(files):
        first = real(files)[0]
        return [first, first._replace(items=first.items[::-1])]

    monkeypatch.setattr(document_module, "_ranks", of_other_rows)
    assert main(["compare", path, "--table"]) == 0
    found = document_in(folder)["datasets"]["tiny"]["entries"]
    assert found["again"]["not_compared"] == "other test rows"
