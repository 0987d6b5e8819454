"""Every benchmark runs, on data as small as can be, and compares like with like."""

from __future__ import annotations

import sys

import pytest
import torch

from benchmarks import (
    artifacts,
    bit_budget,
    catalogue_growth,
    evaluation,
    evaluation_model,
    generated_items,
    loss_by_factors,
    quantization,
    request_memory,
    soft_targets,
    table_fit,
    tensor_train,
    training_precision,
    training_speed,
)
from recbole_compress.quick_start.quick_start import run_recbole_compress
from tests.conftest import write_interactions
from tests.marks import slow

SEQUENCES = [[f"i{(u * 5 + s * s) % 31}" for s in range(5 + u % 8)] for u in range(40)]
COMMON = {"seed": 2020, "threads": 1}
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def tiny(in_tmp, monkeypatch):
    """Arguments of ``training_speed.measure`` that every entry on a tiny data set shares."""
    monkeypatch.setattr(training_speed, "RECBOLE_AUGMENTS", ("tiny",))
    settings = {
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": 6,
        "train_batch_size": 32,
    }
    path = write_interactions(in_tmp, "tiny", SEQUENCES)
    return {**COMMON, "data_path": path, "settings": settings, "dataset": "tiny"}


@pytest.mark.parametrize("backbone", training_speed.BACKBONES)
def test_all_variants_train_the_same_targets(tiny, backbone):
    runs = []
    for variant in (*training_speed.STOCK, *training_speed.OURS):
        entry = {"compare": "epochs", "backbone": backbone, "variant": variant}
        result = training_speed.measure(**tiny, **entry, sample_seconds=None)
        assert result["whole_epoch"] and result["seconds_per_epoch"] > 0
        assert result["timed_steps"] == result["batches_per_epoch"] - training_speed.WARM_UP
        assert result["targets_per_step"] < 32 + 6  # ours: to the nearest window
        runs.append({"entry": {**entry, "dataset": "tiny"}, "result": result})
    assert not torch.is_anomaly_enabled()
    assert [run["result"]["anomaly_mode"] for run in runs] == [True] + [False] * 4
    (row,) = training_speed.summary(runs)["comparison"]
    # All items of all users but the first, which nothing precedes, and the two held out.
    assert row["targets_per_epoch"] == [sum(len(s) - 3 for s in SEQUENCES)]
    assert row["same_targets"] and len(row["ratios"]) == 6


@pytest.mark.parametrize("variant", training_speed.ROUNDED)
def test_short_floats_in_training(tiny, variant):
    entry = {"compare": "epochs", "backbone": "NextItNet", "variant": variant}
    result = training_speed.measure(**tiny, **entry, sample_seconds=0.0)
    assert result["seconds_per_epoch"] > 0 and not torch.is_autocast_enabled("cpu")


def test_entries_of_a_process_share_what_is_prepared(tiny):
    given = {"seed": 1, "data_path": tiny["data_path"], **tiny["settings"]}
    shared = []
    for variant in ("as_shipped", "anomaly_off", "untied", "cprec"):
        config = training_speed.make_config(given, "tiny", "NextItNet", variant)
        shared.append(training_speed.built(training_speed.SequenceDataset, config))
    theirs, theirs_again, ours, ours_again = shared
    assert theirs is theirs_again and ours is ours_again and ours is not theirs
    assert ours.build() is ours.build()


@pytest.mark.parametrize("made_by", ["SequentialDataset", "SequenceDataset"])
def test_a_stock_epoch_is_sampled(tiny, monkeypatch, made_by):
    if made_by == "SequenceDataset":
        monkeypatch.setattr(training_speed, "RECBOLE_AUGMENTS", ())
    entry = {"compare": "epochs", "backbone": "NextItNet", "variant": "anomaly_off"}
    result = training_speed.measure(**tiny, **entry, sample_seconds=0.0)
    assert result["timed_steps"] == 3 and not result["whole_epoch"]
    assert result["batches_made_by"] == made_by
    assert result["targets_per_step"] == 32


def test_anomaly_mode_is_on_in_the_shipped_variant_only(tiny, monkeypatch):
    seen = []
    original = training_speed.TimedBatches._enough
    monkeypatch.setattr(
        training_speed.TimedBatches,
        "_enough",
        lambda self: seen.append(torch.is_anomaly_enabled()) or original(self),
    )
    for variant in ("as_shipped", "anomaly_off", "cprec"):
        entry = {"compare": "epochs", "backbone": "SASRec", "variant": variant}
        training_speed.measure(**tiny, **entry, sample_seconds=0.0)
        assert set(seen) == {variant == "as_shipped"}
        seen.clear()


def test_batches_by_index_are_recboles(tiny):
    result = training_speed.measure(**tiny, compare="batches", repeats=2)
    assert result["equal"] and result["rows"] == 32


@pytest.mark.parametrize("variant", training_speed.OURS)
def test_phases_fill_the_step(tiny, variant):
    result = training_speed.measure(**tiny, compare="phases", variant=variant, seconds=0.0)
    assert result["steps"] == 3
    assert sum(result["share"].values()) == pytest.approx(1, abs=1e-3)
    assert all(result["median_ms"][phase] > 0 for phase in result["share"])


@pytest.mark.parametrize("variant", ["as_shipped", "cprec"])
def test_training_for_equal_time(tiny, variant):
    entry = {"compare": "equal_time", "backbone": "NextItNet", "variant": variant}
    result = training_speed.measure(**tiny, **entry, train_seconds=0.2)
    assert result["epochs"] >= 1 and result["train_seconds"] > 0
    assert 0 <= result["valid_ndcg@10"] <= 1
    assert not torch.is_anomaly_enabled()


@pytest.mark.parametrize("head", catalogue_growth.HEADS)
def test_catalogue_growth(in_tmp, head):
    result = catalogue_growth.measure(300, head, sample_seconds=0.0, max_steps=6, **COMMON)
    assert result["timed_steps"] == 4 and result["step_ms"] > 0
    assert result["topk_is_exact"] and result["checked_requests"] == 20
    assert 0 < result["request_ms"]["p50"] <= result["request_ms"]["p95"]
    # Adam keeps two numbers per weight, and a step count per tensor.
    assert 0 <= result["optimizer_bytes"] - 2 * result["parameter_bytes"] < 1000
    assert ("opened_tails" in result) == ("two_level" in head)


@LINUX
@pytest.mark.parametrize("head", request_memory.HEADS)
def test_request_memory(in_tmp, head):
    result = request_memory.measure(300, head, seconds=0.0, **COMMON)
    held = result["rss_bytes"]
    assert 0 < held["after"] <= held["peak"]
    assert set(result["cpu_ms"]) == {"top 5", "top 10"} and result["topk_is_exact"]
    if "two_level" in head:
        assert result["opened_tails"] == result["n_tails"] == 2


@LINUX
def test_the_peak_of_some_work_is_its_own():
    torch.ones(2**24)  # 64 MB that are gone when it begins
    kept = []

    def work():
        torch.ones(2**23)
        kept.append(torch.ones(2**22))

    held = request_memory.held(work)
    assert 24e6 < held["peak"] - held["loaded"] < 60e6
    assert 12e6 < held["after"] - held["loaded"] < 24e6


def test_training_batches_hold_the_promised_targets(in_tmp):
    catalogue = catalogue_growth.ZipfCatalogue(300, seed=0)
    config = {"ITEM_SEQ": "item_id_list", "ITEM_SEQ_LEN": "item_length"}
    names = type("Model", (), config)
    (batch,) = catalogue_growth.SyntheticBatches(catalogue, names, steps=1)
    sequences, targets = batch["item_id_list"], batch["target_item_id_list"]
    assert (targets > 0).sum() == catalogue_growth.TARGETS
    assert ((sequences > 0) == (targets > 0)).all()
    assert (sequences[:, 1:] == targets[:, :-1])[targets[:, 1:] > 0].all()


def test_all_evaluation_paths_give_the_same_metrics(in_tmp):
    size = {"n_items": 300, "n_users": 50}
    evaluation_model.measure(**size, epochs=3, folder=str(in_tmp), **COMMON)
    results = {
        path: evaluation.evaluate(str(in_tmp), path, seed=2020, repeats=2)
        for path in evaluation.PATHS
    }
    runs = [
        {"entry": {**size, "path": p}, "result": {**r, "peak_rss_bytes": 1}}
        for p, r in results.items()
    ]
    (row,) = evaluation.summary(runs)["comparison"]
    assert row["paths_with_the_same_model_and_metrics"] == list(evaluation.PATHS)
    assert results["recbole"]["eval_batch_size"] == 4096
    assert results["ours"]["rows"] == 50
    assert results["ours"]["metrics"]["recall@10"] > 0

    results["ours"]["metrics"]["recall@10"] += 1e-9
    with pytest.raises(RuntimeError, match="metrics differ between paths"):
        evaluation.same(results)


@pytest.mark.parametrize("compare", tensor_train.COMPARED)
@pytest.mark.parametrize("table", ["tensor_train", "semi_tensor_train", "automatic"])
def test_tensor_trains_beside_the_dense_table(compare, table):
    small = {"sizes": {"n_items": 2_000, "dim": 16}, "batches": (1, 3), "targets": (7,)}
    result = tensor_train.measure(
        compare, "million", table, seconds=0.0, seed=1, threads=1, **small
    )
    assert table != "automatic" or result["numbers"] < 2_000 * 16
    if compare == "scoring":
        one, three = result["batches"]["1"], result["batches"]["3"]
        assert "2" not in one["ms"] and set(three["ms"]) == {"dense", "table kept", "1+1", "2"}
        assert one["difference"] < 1e-5 and set(three["macs"]) == {"1+1", "2"}
    elif compare == "lookup":
        assert result["sequences"]["3"]["distinct"] > 50
    else:
        assert result["targets"]["7"]["ratio"] > 0
        assert 0 < result["rss_bytes_built"] <= result["rss_bytes_trained"]


@pytest.mark.slow
def test_quantization_rows(in_tmp):
    path = write_interactions(in_tmp, "tiny", SEQUENCES)
    shared = {
        **COMMON,
        "dataset": "tiny",
        "model": "CpRecSASRec",
        "start": "teacher",
        "data_path": path,
        "kept": str(in_tmp / "kept"),
        "training": {"epochs": 1, "MAX_ITEM_LIST_LENGTH": 6},
        "quantize": {"df_epochs": 1, "df_sequences": 64, "df_valid_sequences": 20},
    }
    full = quantization.measure(recipe="none", bits=32, activation_bits=32, **shared)
    assert full["agreement@10"] == 1.0
    trained = (in_tmp / "kept" / "tiny" / "CpRecSASRec.pth").read_bytes()
    for recipe in ("ptq", "self_sample"):
        row = quantization.measure(recipe=recipe, bits=4, activation_bits=8, **shared)
        assert 0.6 < row["agreement@10"] <= 1.0 and row["size_bytes"] > 0  # by chance 0.3
        # A hundred candidates out of 31 items are drawn from those that there are.
        assert row["sampled_hit@10"] >= row["hit@10"]
    assert (in_tmp / "kept" / "tiny" / "CpRecSASRec.pth").read_bytes() == trained

    checkpoints = {"tiny/A": str(in_tmp / "kept" / "tiny" / "CpRecSASRec.pth")}
    made = generated_items.measure(
        "tiny/A",
        **COMMON,
        checkpoints=checkpoints,
        data_path=path,
        plots=str(in_tmp),
        quantize={"df_epochs": 1, "df_sequences": 60, "df_valid_sequences": 20, "df_batch_size": 1},
    )
    games = ["game", "game, random start", "game, 100x rate"]
    assert [*made["ways"]] == ["sampled", "gumbel", "epsilon_greedy", "noise", *games]
    moved = [made["played"][game]["moved"] for game in games]
    assert 0 < moved[1] < moved[2] / 10  # a turn has come: 60 steps, every 30th is followed by one
    assert all(0 < way["overlap"] <= 1 for way in made["ways"].values())
    assert (in_tmp / generated_items.plot_name("tiny/A")).stat().st_size > 5000


def test_all_tails_are_opened():
    name, settings, *_ = artifacts.OURS["two_level"]
    model = artifacts.made(name, 300, 32, settings, seed=1)
    artifacts.open_all_tails(model)
    item_seq, length = map(torch.from_numpy, artifacts.requests(300, seed=1))
    with torch.no_grad():
        scores = model.item_head.scores(model(item_seq, length))
    blocks = model.item_head.item_blocks
    by_rank = scores[:, blocks.id_of_rank]
    popular, *tails = by_rank.split(blocks.sizes, dim=1)
    for tail in tails:
        assert (tail.logsumexp(1) > popular.max(1).values).all()


@pytest.mark.parametrize("variant", ["torch_dynamic_int8", *map(slow, ["w4", "public_4_bit"])])
def test_artifacts(in_tmp, monkeypatch, variant):
    monkeypatch.setattr(artifacts, "timed", lambda ask, batch: {"p50": len(ask(0)[0])})
    monkeypatch.setattr(artifacts, "measured", lambda path, *asked: {"asked": len(asked[0])})
    result = artifacts.measure(300, 32, variant, **COMMON)
    assert result["size_bytes"] > 300 * 32 * (4 if "torch" in variant else 0.5)
    assert ("deviation" in result) == (variant == "w4")


@pytest.mark.parametrize("table", training_precision.TABLES)
def test_a_step_at_every_precision(in_tmp, table):
    for precision in training_precision.PRECISIONS:
        result = training_precision.measure(table, precision, 0.0, **COMMON, n_items=300)
        assert result["timed_steps"] == 4
        assert result["step_ms"] > 0 and result["step_cpu_ms"] > 0


@pytest.mark.parametrize("narrowing", soft_targets.TAILS)
@pytest.mark.parametrize("repeats", ["none", "pointer"])
def test_soft_targets(narrowing, repeats):
    few = {"turns": 1, "sizes": (20, 30, 50), "repeats": repeats}
    result = soft_targets.measure(narrowing, **COMMON, **few)
    assert result["loss_difference"] < 1e-5
    assert all(result[f"{way}_cpu_ms"] > 0 for way in ("by_scores", "by_blocks", "cross_entropy"))


@pytest.mark.parametrize("table", loss_by_factors.TABLES)
def test_loss_by_factors(table):
    result = loss_by_factors.measure(301, table, **COMMON, turns=1)
    assert result["loss_difference"] < 1e-5
    assert all(result[f"{way}_cpu_ms"] > 0 for way in ("dense", "by_table", "by_factors"))


def test_bits_by_bytes_beside_the_same_for_all(in_tmp):
    path = write_interactions(in_tmp, "tiny", SEQUENCES)
    settings = {"data_path": path, "MAX_ITEM_LIST_LENGTH": 6, "epochs": 1, "state": "ERROR"}
    trained = run_recbole_compress("GRU4Rec", "tiny", config_dict=settings)
    checkpoints = {"gru": trained["checkpoint"]}
    found = bit_budget.measure("gru", "ptq", 3, **COMMON, checkpoints=checkpoints, data_path=path)
    assert found["full"]["test"] == pytest.approx(trained["test_result"]["ndcg@10"], abs=1e-4)
    assert found["chosen"]["file_bytes"] <= found["same"]["file_bytes"]
    assert found["same"]["file_bytes"] < found["full"]["file_bytes"]
    assert all(1 <= bits <= 8 for bits in found["chosen"]["bits"].values())


def test_what_a_table_keeps_in_fewer_numbers(in_tmp):
    path = write_interactions(in_tmp, "tiny", SEQUENCES)
    form = {"item_embedding": "dense", "embedding_size": 8, "inner_size": 8}
    settings = {"data_path": path, "MAX_ITEM_LIST_LENGTH": 6, "epochs": 2, "state": "ERROR"}
    trained = run_recbole_compress("TTSASRec", "tiny", config_dict={**settings, **form})
    shared = {
        **COMMON,
        "dataset": "tiny",
        "checkpoints": {"tiny": trained["checkpoint"]},
        "data_path": path,
    }
    dense = table_fit.measure(form="dense", times=1, **shared)
    assert dense["ndcg@10"] == pytest.approx(trained["test_result"]["ndcg@10"], abs=1e-4)
    for form in table_fit.FORMS:
        found = [table_fit.measure(form=form, times=times, **shared) for times in (2, 4)]
        assert 0 < found[0]["relative_error"] < found[1]["relative_error"] < 1
        assert found[1]["numbers"] < found[0]["numbers"] < dense["numbers"]
    whole = table_fit.measure(form="low-rank", times=1, **shared)
    assert whole["relative_error"] < 1e-5 and whole["ndcg@10"] == pytest.approx(dense["ndcg@10"])
