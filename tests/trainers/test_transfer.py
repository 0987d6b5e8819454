"""The transfer recipe: phases, what moves and what is new, both rankings, refusals."""

from __future__ import annotations

import glob
import json
import os
from pathlib import Path

import pytest
import recbole
import torch

from recbole_compress.config import Config
from recbole_compress.data.loaders import split_of
from recbole_compress.errors import CheckpointError, ConfigError, DataError
from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.evaluate import evaluate_file
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.quick_start.restored import restored_model
from recbole_compress.trainers.checkpoint import load_checkpoint
from recbole_compress.trainers.transfer_trainer import TransferTrainer
from tests.conftest import write_interactions
from tests.cut_runs import assert_same_weights, cut_at
from tests.marks import slow

ML_100K = Path(recbole.__file__).parent / "dataset_example" / "ml-100k" / "ml-100k.inter"
USERS = 60
SETTINGS = {
    "recipe": "transfer",
    "source_dataset": "ml-100k-source",
    "data_path": "data",
    "epochs": 2,
    "MAX_ITEM_LIST_LENGTH": 8,
    "train_batch_size": 256,
    "embedding_size": 8,
    "state": "ERROR",
    "threads": 1,
    "show_progress": False,
}
SMALL = {
    "CpRecNextItNet": {"dilations": [1, 2]},
    "CpRecGRU4Rec": {"hidden_size": 12},
    "TTSASRec": {"inner_size": 8, "tt_ranks": 4},
}
UNCOMPRESSED = {"item_embedding": "dense", "item_head": "untied", "layer_sharing": "none"}


@pytest.fixture(scope="module")
def domains(tmp_path_factory):
    """The first users of ml-100k, their items in two domains: the popular half and the others."""
    folder = tmp_path_factory.mktemp("domains")
    head, *rows = ML_100K.read_text().splitlines()
    few = folder / "ml-100k.inter"
    chosen = [row for row in rows if int(row.split("\t")[0]) <= USERS]
    few.write_text("\n".join([head, *chosen]) + "\n")
    assert main(["split-domains", str(few), f"--output={folder / 'data'}"]) == 0
    return folder / "data"


@pytest.fixture
def settings(domains, in_tmp):
    (in_tmp / "data").symlink_to(domains)
    return dict(SETTINGS)


def run(settings, model="CpRecNextItNet", **more):
    dataset = more.pop("dataset", "ml-100k-target")
    return run_recbole_compress(model, dataset, config_dict={**settings, **SMALL[model], **more})


SCHEMES = ("none", "cross_layer", "cross_block", "adjacent_layer", "adjacent_block")


@pytest.mark.parametrize(
    ("model", "more"),
    [
        *(("CpRecNextItNet", {"layer_sharing": scheme}) for scheme in SCHEMES),
        ("CpRecNextItNet", UNCOMPRESSED),
        ("TTSASRec", {}),
        ("CpRecGRU4Rec", {}),
    ],
    ids=[*SCHEMES, "uncompressed", "TTSASRec", "CpRecGRU4Rec"],
)
@pytest.mark.parametrize("fine_tune", ["all", "adapters"])
def test_every_model_is_pre_trained_and_fine_tuned_in_one_run(
    settings, trainers, monkeypatch, model, more, fine_tune
):
    started = {}
    learn_from = TransferTrainer.learn_from

    def spy(self, state, train_split):
        learn_from(self, state, train_split)
        started.update({k: v.clone() for k, v in self.model.state_dict().items()})

    monkeypatch.setattr(TransferTrainer, "learn_from", spy)
    result = run(settings, model, epochs=1, fine_tune=fine_tune, **more)
    pretrained, tuned = trainers
    card = result["card"]

    # Everything but the head came from the pre-trained model, adapters began as nothing.
    state = load_checkpoint(card["files"]["pretrained"])
    before = state["state_dict"]
    assert state["config"]["dataset"] == "ml-100k-source"
    moved = [k for k in before if not k.startswith("item_head.")]
    assert moved and all(torch.equal(started[k], before[k]) for k in moved)
    new = {k for k in started if k not in moved}
    assert {k.split(".")[0] for k in new} == {"item_head", "backbone"} - (
        {"backbone"} if fine_tune == "all" else set()
    )

    after = tuned.model.state_dict()
    weights = dict(tuned.model.named_parameters())
    changed = {k for k in weights if not torch.equal(after[k], started[k])}
    if fine_tune == "all":
        assert changed >= {k for k in weights if "item_embedding" in k or "item_head" in k}
    else:
        norms = {
            f"{name}.{part}"
            for name, module in tuned.model.named_modules()
            if isinstance(module, torch.nn.LayerNorm)
            for part in ("weight", "bias")
        }
        adapters = {k for k in weights if ".adapters." in k}
        assert adapters and changed == {*norms, *adapters, "item_head.weight"}

    assert tuned.model.item_head.num_embeddings == tuned.model.n_items == 1 + card["n_items"]
    assert set(card["metrics"]) == {"valid", "test", "valid_sampled", "test_sampled"}
    for metrics in card["metrics"].values():
        assert {"hit@5", "mrr@5"} <= set(metrics)
    assert card["metrics"]["test_sampled"]["hit@5"] >= card["metrics"]["test"]["hit@5"]
    pretraining = card["pretraining"]
    assert pretraining["seconds"] == pytest.approx(pretrained.seconds)
    assert pretraining["parameters"]["total"] == sum(
        p.numel() for p in pretrained.model.parameters()
    )
    assert card["choices"]["recipe"] == "transfer" and card["choices"]["fine_tune"] == fine_tune
    assert card["reference_bytes"]["tied"] is None


@pytest.mark.parametrize("phase", [slow("pre-training"), "fine-tuning"])
def test_a_run_that_ends_in_either_phase_goes_on_there(settings, trainers, phase):
    whole = run(settings, checkpoint_dir="whole", fine_tune="adapters")
    with cut_at(1, lambda trainer: trainer.needs_source == (phase == "fine-tuning")) as left:
        run(settings, checkpoint_dir="parts", fine_tune="adapters")
    trainers.clear()
    resumed = run_recbole_compress(command_line=[f"--resume={left[0]}"])

    assert len(trainers) == (2 if phase == "pre-training" else 1)
    assert Path(resumed["checkpoint"]).parent == Path("parts")
    assert resumed["test_result"] == whole["test_result"]
    assert resumed["card"]["metrics"] == whole["card"]["metrics"]
    assert_same_weights(whole["checkpoint"], resumed["checkpoint"])
    assert len(glob.glob("parts/pretraining/*.pth")) == 1


def test_a_fine_tuning_that_has_saved_nothing_goes_on_from_its_pretraining(settings, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(TransferTrainer, "transfer_loss", interrupted)
    with pytest.raises(KeyboardInterrupt) as said:
        run(settings, epochs=1)
    (path,) = glob.glob("saved/pretraining/*.pth")
    assert str(said.value) == f"--resume={path}"


def test_a_head_with_blocks_of_its_own_is_found_again(settings, trainers):
    blocks = {"target_head": "two_level", "transfer_loss": "cross_entropy", "n_item_blocks": 3}
    result = run(settings, epochs=1, **blocks)
    path, measured = result["checkpoint"], result["card"]["metrics"]
    tuned = trainers[-1].model.eval()
    cuts = [m.item_blocks.sizes for m in (tuned.item_embedding, tuned.item_head)]
    assert cuts[0] != cuts[1]
    _, model, (sequences, lengths) = restored_model(path)
    with torch.no_grad():
        torch.testing.assert_close(
            model.eval().score(sequences, lengths), tuned.score(sequences, lengths)
        )
    # Candidates of the protocol included.
    assert evaluate_file(path)["metrics"] == measured and "test_sampled" in measured


def test_a_checkpoint_decides_the_form_and_knows_its_source(settings, trainers):
    first = run(settings, epochs=1, fine_tune="adapters")
    path = first["card"]["files"]["pretrained"]
    trainers.clear()
    only = {k: v for k, v in settings.items() if k not in ("source_dataset", "embedding_size")}
    again = run_recbole_compress(
        "CpRecNextItNet",
        "ml-100k-target",
        config_dict={**only, "epochs": 1, "fine_tune": "adapters", "pretrained": path},
    )
    (tuned,) = trainers  # no second pre-training
    assert tuned.model.item_embedding.embedding_dim == 8 and len(tuned.model.backbone.adapters) == 2
    assert again["test_result"] == first["test_result"]
    assert again["card"]["pretraining"] == first["card"]["pretraining"]
    _, model, (sequences, lengths) = restored_model(again["checkpoint"])
    with torch.no_grad():
        torch.testing.assert_close(
            model.eval().score(sequences, lengths), tuned.model.eval().score(sequences, lengths)
        )
    with pytest.raises(ConfigError, match="embedding_size=16: pretrained=.*embedding_size=8"):
        run(settings, embedding_size=16, pretrained=path)
    with pytest.raises(ConfigError, match="model=TTSASRec: pretrained=.*CpRecNextItNet"):
        run(settings, "TTSASRec", pretrained=path)
    with pytest.raises(ConfigError, match="source_dataset=ml-100k-target: pretrained"):
        run(settings, pretrained=path, source_dataset="ml-100k-target", dataset="ml-100k-source")
    with pytest.raises(ConfigError, match="was trained on ml-100k-source, the target itself"):
        own = {key: value for key, value in settings.items() if key != "source_dataset"}
        run(own, pretrained=path, dataset="ml-100k-source")
    same = run(settings, pretrained=again["checkpoint"], epochs=1, fine_tune="adapters")
    assert same["card"]["files"]["pretrained"] == path  # the pre-training of that run
    assert same["test_result"] == first["test_result"]
    scratch = run(settings, pretrain=False, epochs=0)
    with pytest.raises(CheckpointError, match="without pre-training"):
        run(settings, pretrained=scratch["checkpoint"])


def test_a_source_that_lies_in_another_folder_than_the_target(settings, domains, in_tmp, capsys):
    for part in ("source", "target"):
        (in_tmp / part).mkdir()
        (in_tmp / part / f"ml-100k-{part}").symlink_to(domains / f"ml-100k-{part}")
    more = {"epochs": 1, "state": "INFO"}
    first = run(settings, data_path="target", pretraining={"data_path": "source"}, **more)
    assert "is not read by these choices" not in capsys.readouterr().err
    path = first["card"]["files"]["pretrained"]
    again = run(settings, data_path="target", pretrained=path, **more)
    assert again["test_result"] == first["test_result"]


def test_a_pre_training_that_has_moved_is_named(settings, in_tmp):
    first = run(settings, epochs=1)
    path, moved = first["card"]["files"]["pretrained"], str(in_tmp / "moved.pth")
    os.rename(path, moved)
    with pytest.raises(CheckpointError, match=f"pretrained={path}: .*now with --pretrained=FILE"):
        evaluate_file(first["checkpoint"])
    card = evaluate_file(first["checkpoint"], pretrained=moved)
    assert card["metrics"]["test"] == first["card"]["metrics"]["test"]


def test_without_pre_training_nothing_is_trained_first(settings, trainers):
    result = run(settings, pretrain=False, epochs=1)
    (tuned,) = trainers
    assert type(tuned) is TransferTrainer
    assert result["card"]["pretraining"]["epochs"] == 0
    assert result["card"]["choices"]["pretrain"] is False


@pytest.mark.parametrize("targets", ["all", "last"])
@pytest.mark.parametrize("loss", ["binary_cross_entropy", "cross_entropy"])
def test_losses_go_down_and_metrics_are_those_of_the_scores(settings, trainers, targets, loss):
    settings |= {"transfer_loss": loss, "training_targets": targets, "learning_rate": 0.01}
    settings |= {"pretrain": False, "epochs": 3, "sampled_candidates": 20, "eval_batch_size": 7}
    result = run(settings)
    (tuned,) = trainers
    losses = [tuned.train_loss_dict[epoch] for epoch in range(3)]
    assert losses[2] < losses[0]

    config, model, _ = restored_model(result["checkpoint"])
    from recbole_compress.quick_start.pretraining import load_data

    test = load_data(config).build()[2]
    batch = test[torch.arange(len(test.inter_feat))]
    with torch.no_grad():
        scores = model.eval().score(batch["item_id_list"], batch["item_length"])
    for name, rivals in (("test", None), ("test_sampled", batch["candidates"])):
        hits, reciprocal = [], []
        for n, target in enumerate(batch["item_id"].tolist()):
            others = range(1, model.n_items) if rivals is None else rivals[n].tolist()
            better = sum(bool(scores[n, i] > scores[n, target]) for i in others if i != target)
            hits.append(better < 5)
            reciprocal.append(1 / (better + 1) if better < 5 else 0)
        metrics = result["card"]["metrics"][name]
        assert metrics["hit@5"] == pytest.approx(sum(hits) / len(hits), abs=1e-4)
        assert metrics["mrr@5"] == pytest.approx(sum(reciprocal) / len(reciprocal), abs=1e-4)


def test_windows_train_what_rows_train(settings, trainers):
    """One pass over a sequence gives the loss of all rows that were met along it."""
    settings |= {"transfer_loss": "cross_entropy", "pretrain": False, "epochs": 1}
    settings |= {"window_stride": 1, "embedding_dropout_prob": 0.0}
    losses, weights = [], {}
    for targets in ("all", "last"):
        run(settings, training_targets=targets)
        trainer = trainers[-1]
        split = trainer.split
        weights = weights or trainer.model.state_dict()
        trainer.model.load_state_dict(weights)
        trainer.model.eval()
        losses.append(trainer.transfer_loss(split[torch.arange(len(split))]))
    torch.testing.assert_close(losses[0], losses[1])


@pytest.fixture(autouse=True)
def keep_split(monkeypatch):
    fit = TransferTrainer.fit

    def keep(self, train_data, *args, **kwargs):
        self.split = split_of(train_data)
        return fit(self, train_data, *args, **kwargs)

    monkeypatch.setattr(TransferTrainer, "fit", keep)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"recipe": "cross_entropy"}, "recipe=cross_entropy has no source; add --recipe=transfer"),
        ({"source_dataset": None}, "pre-trained on what"),
        ({"source_dataset": "ml-100k-target"}, "is the target itself; recbole-compress split-dom"),
        ({"pretraining": {"embedding_size": 4}}, "embedding_size=4 belongs to the run"),
        ({"pretraining": {1: 2}}, "pretraining={1: 2}: 1 is no name of a setting"),
        ({"pretraining": {"epoch": 4}}, "pretraining: epoch .*unknown key"),
        ({"pretrained": "nowhere.pth"}, "nowhere.pth: there is no such checkpoint"),
        ({"pretrained": "x.pth", "pretraining": {"epochs": 1}}, "give one of them"),
        ({"pretrained": "x.pth", "pretrain": False}, "give one of them"),
        ({"pretrain": False, "pretraining": {"epochs": 3}}, "so epochs would not be read; leave"),
        ({"adapter_size": 0}, "adapter_size=0: choose 1 or more"),
        ({"target_head": "two_level"}, "take --transfer_loss=cross_entropy"),
        ({"eval_args": {"mode": "uni99"}}, "say how many with --sampled_candidates=99"),
        ({"eval_args": {"split": {"LS": "valid_and_test"}}}, "target_split=users needs three"),
        ({"eval_args": {"order": "TO"}}, "order=TO: target_split=users deals out whole users by"),
        ({"eval_args": {"group_by": "user", "order": "RO"}}, "leave group_by out, or take --targ"),
        ({"target_head": "untide"}, "did you mean 'untied'"),
    ],
)
def test_refusals_come_before_any_training(settings, trainers, more, message):
    with pytest.raises((ConfigError, CheckpointError), match=message):
        run(settings, **more)
    assert trainers == []


@pytest.mark.parametrize(
    ("more", "split"),
    [
        ({}, "users"),
        ({"split": {"RS": [0.6, 0.2, 0.2]}, "order": "RO"}, "users"),
        ({"order": "RO", "group_by": "none", "mode": "full"}, "users"),
        ({"order": "TO", "group_by": "user"}, "interactions"),
    ],
)
def test_eval_args_that_are_heeded_pass(settings, more, split):
    settings |= {"target_split": split, **({"eval_args": more} if more else {})}
    config = Config("CpRecNextItNet", "ml-100k-target", config_dict=settings)
    TransferTrainer.check_settings(config)


def test_recboles_own_models_cannot(settings):
    stock = {key: settings[key] for key in ("recipe", "source_dataset", "data_path")}
    with pytest.raises(ConfigError, match="for the models of this package, not for SASRec$"):
        run_recbole_compress("SASRec", "ml-100k-target", config_dict=stock)


def test_no_shared_user_is_said_before_the_fine_tuning(settings, domains, in_tmp, capsys):
    os.unlink("data")
    write_interactions(in_tmp / "data", "ml-100k-target", [["i1", "i2", "i3"]] * 5)
    (in_tmp / "data" / "ml-100k-source").symlink_to(domains / "ml-100k-source")
    with pytest.raises(DataError, match=r"none of the 5 and \d+ users are shared"):
        run(settings, epochs=1, pretrain=False)


@pytest.mark.parametrize("pretrain", [True, False])
def test_a_target_of_one_item_is_refused(settings, domains, in_tmp, trainers, pretrain):
    os.unlink("data")
    (in_tmp / "data").mkdir()
    (in_tmp / "data" / "ml-100k-source").symlink_to(domains / "ml-100k-source")
    name = "ml-100k-target"
    head, *rows = (domains / name / f"{name}.inter").read_text().splitlines()
    cells = [row.split("\t") for row in rows]
    alike = ["\t".join([user, "one", *others]) for user, _, *others in cells]
    (in_tmp / "data" / name).mkdir()
    (in_tmp / "data" / name / f"{name}.inter").write_text("\n".join([head, *alike]) + "\n")
    with pytest.raises(DataError, match="1 target item, and binary_cross_entropy needs another"):
        run(settings, epochs=1, pretrain=pretrain, topk=[1], valid_metric="MRR@1")
    assert trainers == []


def test_from_the_command_line_with_a_two_level_target(settings):
    arguments = ["--model=CpRecNextItNet", "--dataset=ml-100k-target", "--card_path=card.json"]
    given = {**settings, "epochs": 1, "target_head": "two_level", "transfer_loss": "cross_entropy"}
    given["pretraining"] = "{learning_rate: 0.01, epochs: 2}"
    assert main([*arguments, *(f"--{key}={value}" for key, value in given.items())]) == 0
    card = json.loads(Path("card.json").read_text())
    assert card["pretraining"]["epochs"] == 2 and card["training"]["epochs"] == 1
    assert card["choices"]["item_head"] == "two_level"
