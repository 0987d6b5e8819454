"""The distillation recipe: phases, the teacher's place, resumption, refusals."""

from __future__ import annotations

import glob
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_compress.config import Config
from recbole_compress.data.loaders import split_of
from recbole_compress.errors import CheckpointError, ConfigError
from recbole_compress.models.compressed_recommender import TrainingRows
from recbole_compress.quick_start.checks import check_run
from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.from_checkpoint import made_anew
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.trainers import random_state
from recbole_compress.trainers.checkpoint import load_checkpoint, save_checkpoint
from recbole_compress.trainers.distillation_trainer import DistillationTrainer
from recbole_compress.trainers.safe_trainer import SafeTrainer
from recbole_compress.trainers.teacher import as_teacher
from tests.conftest import SEQUENCES, write_interactions
from tests.cut_runs import assert_same_weights, cut_at

SETTINGS = {
    "recipe": "distillation",
    "kd_predictive_weight": 0.001,  # all three losses
    "epochs": 3,
    "stopping_step": 10,
    "MAX_ITEM_LIST_LENGTH": 6,
    "train_batch_size": 64,
    "embedding_size": 8,
    "inner_size": 8,
    "tt_ranks": 4,
    "state": "ERROR",
    "threads": 1,
    "show_progress": False,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
}
STOCK = {"model": "SASRec", "hidden_size": 8, "n_heads": 2, "epochs": 1}


@pytest.fixture
def settings(in_tmp):
    path = write_interactions(in_tmp, "tiny", SEQUENCES[:60])
    return {**SETTINGS, "data_path": path}


def run(settings, model="TTSASRec", dataset="tiny"):
    return run_recbole_compress(model, dataset, config_dict=dict(settings))


@pytest.mark.parametrize("targets", ["all", "last"])
def test_both_phases_in_one_run(settings, trainers, targets):
    result = run({**settings, "training_targets": targets})
    teacher, student = trainers
    assert type(teacher) is not type(student) is DistillationTrainer
    assert (
        student.model.item_embedding.num_embeddings == teacher.model.item_embedding.num_embeddings
    )
    assert type(teacher.model.item_embedding).__name__ == "DenseEmbedding"
    assert teacher.finished and student.finished
    card = result["card"]
    assert card["choices"]["recipe"] == "distillation"
    assert card["files"]["teacher"] == teacher.saved_model_file != result["checkpoint"]
    # The teacher taught, and is no part of what was trained, counted or saved.
    taught_by = student.teacher.model
    assert not taught_by.training and not any(p.requires_grad for p in taught_by.parameters())
    saved = load_checkpoint(teacher.saved_model_file)["state_dict"]
    for name, weight in taught_by.state_dict().items():
        torch.testing.assert_close(weight, saved[name], rtol=0, atol=0)
    state = load_checkpoint(result["checkpoint"])
    assert set(state["state_dict"]) == set(student.model.state_dict())
    assert not [n for n, _ in student.model.named_modules() if "teacher" in n or "recomb" in n]
    numbers = sum(p.numel() for p in student.model.parameters())
    assert card["parameters"]["total"] == numbers
    optimized = {id(p) for group in student.optimizer.param_groups for p in group["params"]}
    assert not optimized & {id(p) for p in taught_by.parameters()}


@pytest.mark.parametrize("phase", ["teacher", "student"])
def test_a_run_that_ends_in_either_phase_goes_on_there(settings, trainers, phase):
    whole = run({**settings, "checkpoint_dir": "whole"})
    with cut_at(2, lambda trainer: trainer.needs_teacher == (phase == "student")) as left:
        run({**settings, "checkpoint_dir": "parts"})
    trainers.clear()
    resumed = run_recbole_compress(command_line=[f"--resume={left[0]}"])

    assert len(trainers) == (2 if phase == "teacher" else 1)  # a finished phase is not repeated
    assert Path(resumed["checkpoint"]).parent == Path("parts")
    assert resumed["best_valid_result"] == whole["best_valid_result"]
    assert resumed["test_result"] == whole["test_result"]
    assert_same_weights(whole["checkpoint"], resumed["checkpoint"])
    assert len(glob.glob("parts/teacher/*.pth")) == 1


def test_every_weight_learns_and_dropout_is_on_in_every_epoch(settings, trainers, monkeypatch):
    """The released code optimised neither cores nor readouts nor maps, and dropped out once."""
    loss, seen, before = DistillationTrainer.distillation_loss, [], {}

    def spy(self, interaction):
        if not before:
            before.update(weights(self))
        dropouts = [m for m in self.model.modules() if isinstance(m, torch.nn.Dropout)]
        seen.append(dropouts and all(m.training for m in dropouts) and self.model.training)
        return loss(self, interaction)

    def weights(trainer):
        modules = {"model": trainer.model, "recombination": trainer.recombination}
        return {
            f"{part}.{name}": weight.detach().clone()
            for part, module in modules.items()
            for name, weight in module.named_parameters()
        }

    monkeypatch.setattr(DistillationTrainer, "distillation_loss", spy)
    run(settings)
    (student,) = (t for t in trainers if t.needs_teacher)
    assert len(seen) > student.epochs_done == 3 and all(seen)
    after = weights(student)
    assert {n.split(".")[1] for n in after} >= {"item_embedding", "readout", "teacher_hot"}
    assert [name for name in after if torch.equal(after[name], before[name])] == []


def test_the_best_epoch_is_the_validation_splits(settings, trainers, monkeypatch):
    """The released code took each metric's best epoch on the test split."""
    evaluated = []
    evaluate = SafeTrainer.evaluate

    def spy(self, eval_data, load_best_model=True, **kwargs):
        evaluated.append((self.finished, load_best_model, len(split_of(eval_data))))
        return evaluate(self, eval_data, load_best_model, **kwargs)

    monkeypatch.setattr(SafeTrainer, "evaluate", spy)
    scores = []
    result = run_recbole_compress(
        "TTSASRec",
        "tiny",
        config_dict=dict(settings),
        after_evaluation=lambda epoch, score: scores.append(score),
    )
    assert len(scores) == 3  # the student's; the teacher's are no part of its record
    assert result["best_valid_score"] == max(scores)
    assert [best for finished, best, _ in evaluated if finished] == [True, True]
    assert not any(best for finished, best, _ in evaluated if not finished)


def test_one_table_is_trained_looked_up_and_scored_with(settings, trainers):
    """The released code had three, which disagreed."""
    run({**settings, "epochs": 1})
    model = trainers[-1].model.eval()
    table = model.item_embedding.dense_weight()
    ids = torch.arange(model.n_items)
    torch.testing.assert_close(model.item_embedding(ids), table)
    hidden = torch.randn(3, 8)
    scores = model.item_head.scores(hidden)[:, 1:]
    torch.testing.assert_close(scores, (hidden @ table.T)[:, 1:])
    scorer, _ = model.item_head.scorer()
    torch.testing.assert_close(scorer(hidden)[:, 1:], scores)


def ready(settings, trainers, **more):
    """A trainer that has a teacher, and a batch; nothing trained to speak of."""
    run({**settings, "epochs": 1, **more})
    trainer = trainers[-1]
    dataset = trainer.train_split
    return trainer, dataset[list(range(len(dataset)))]


@pytest.fixture
def with_split(monkeypatch):
    learn_from = DistillationTrainer.learn_from

    def keep(self, model, train_split):
        self.train_split = train_split
        learn_from(self, model, train_split)

    monkeypatch.setattr(DistillationTrainer, "learn_from", keep)


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(settings, trainers, with_split):
    same = {"item_embedding": "dense", "kd_contrastive_weight": 0.0, "kd_predictive_weight": 0.0}
    trainer, batch = ready(settings, trainers, kd_soft_target_weight=1.0, **same)
    assert trainer.recombination is None
    trainer.model.eval()
    assert trainer.distillation_loss(batch)[0] > 1e-4
    trainer.model.load_state_dict(trainer.teacher.model.state_dict())
    (divergence,) = trainer.distillation_loss(batch)
    assert divergence.abs() < 1e-6
    divergence.backward()
    assert all(p.grad is None for p in trainer.teacher.model.parameters())


@pytest.mark.parametrize("targets", ["all", "last"])
@pytest.mark.parametrize("teacher", [None, STOCK], ids=["ours", "SASRec"])
def test_gradients_flow_to_the_student_only(settings, trainers, with_split, targets, teacher):
    more = {"training_targets": targets, "teacher": teacher}
    trainer, batch = ready(settings, trainers, **more)
    student = [*trainer.model.parameters(), *trainer.recombination.parameters()]
    for weight in student:
        weight.grad = None
    parts = trainer.distillation_loss(batch)
    assert len(parts) == 3 and all(part > 0 for part in parts)
    sum(parts).backward()
    assert all(weight.grad is not None for weight in student)
    assert all(weight.grad is None for weight in trainer.teacher.model.parameters())


@pytest.mark.parametrize("teacher", [None, STOCK])
def test_a_share_of_the_targets_stands_for_all(settings, trainers, with_split, teacher):
    trainer, batch = ready(settings, trainers, teacher=teacher)
    trainer.model.eval()
    whole = torch.stack(trainer.distillation_loss(batch))
    n = len(trainer.model.training_rows(batch).targets)
    asked = []
    answer = trainer.teacher.answer

    def counted(rows, with_side):
        scores, side = answer(rows, with_side)
        return lambda which: asked.append(len(which)) or scores(which), side

    trainer.teacher.answer = counted
    trainer.settings = type(trainer.settings)(**{**vars(trainer.settings), "target_share": 0.25})
    torch.manual_seed(0)
    drawn = torch.stack([torch.stack(trainer.distillation_loss(batch)) for _ in range(60)])
    assert sum(asked) == 60 * round(n / 4)
    assert drawn[:, 0].std() > 0 and drawn[:, 2].std() > 0
    torch.testing.assert_close(drawn[:, 1], whole[1].expand(60))  # of all rows, with each other
    error = (drawn.mean(0) - whole).abs() / (drawn.std(0) / 60**0.5 + 1e-6)
    assert (error < 4).all()


@pytest.mark.parametrize("teacher", [None, {"model": "CpRecGRU4Rec"}, STOCK])
def test_in_short_floats(settings, trainers, with_split, teacher):
    """Scores are made outside autocast, from states of within."""
    trainer, batch = ready(settings, trainers, teacher=teacher)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(torch.isfinite(part) for part in trainer.distillation_loss(batch))


def test_weights_switch_each_part_off_and_scale_it(settings, trainers, with_split):
    trainer, batch = ready(settings, trainers)
    trainer.model.eval()
    given = vars(trainer.settings)

    def parts(**values):
        trainer.settings = type(trainer.settings)(**{**given, **values})
        return torch.stack(trainer.distillation_loss(batch))

    of_data, of_teacher = parts(soft_target=0.0), parts(soft_target=1.0)
    both = parts(soft_target=0.4, contrastive=0.1, predictive=0.002)
    told = 0.6 * of_data[0] + 0.4 * of_teacher[0]
    torch.testing.assert_close(both[0], told)
    torch.testing.assert_close(both[1:], of_data[1:] * torch.tensor([0.5, 2.0]))
    # The published sums: over the targets, except for the cross-entropy.
    n = len(trainer.model.training_rows(batch).targets)
    summed = parts(soft_target=0.4, reduction="sum")
    torch.testing.assert_close(summed[0], 0.6 * of_data[0] + 0.4 * n * of_teacher[0])


def test_a_stock_teacher_answers_for_every_prefix(settings, trainers, with_split):
    trainer, batch = ready(settings, trainers, teacher=STOCK)
    rows = trainer.model.training_rows(batch)
    scores, side = trainer.teacher.answer(rows, with_side=True)
    assert type(trainer.teacher.model).__name__ == "SASRec"
    row, position = rows.trained.nonzero()[-1].tolist()
    prefix = torch.zeros(1, 6, dtype=torch.long)
    prefix[0, : position + 1] = rows.item_seq[row, : position + 1]
    model = trainer.teacher.model
    alone = model(prefix, torch.tensor([position + 1]))
    n = len(rows.targets)
    torch.testing.assert_close(side.sessions[n - 1 :], alone)
    expected = alone @ model.item_embedding.weight.T
    torch.testing.assert_close(scores(slice(n - 1, n)), expected)


def test_a_teacher_is_used_again_and_only_for_its_own_items(settings, trainers, in_tmp):
    teacher = run({**settings, "recipe": "cross_entropy", "item_embedding": "dense"})
    trainers.clear()
    path = teacher["checkpoint"]
    other_model = {key: value for key, value in settings.items() if key != "inner_size"}
    taught = run({**other_model, "teacher_path": path}, model="CpRecGRU4Rec")
    assert len(trainers) == 1 and taught["card"]["files"]["teacher"] == path

    other = [[item + "x" for item in sequence] for sequence in SEQUENCES[:60]]
    write_interactions(in_tmp, "other", other)
    with pytest.raises(CheckpointError, match=r"knows the items of data set 'tiny', not .*'other'"):
        run({**settings, "teacher_path": path}, dataset="other")
    state = load_checkpoint(path)
    save_checkpoint({**state, "item_map_sha256": None}, "unknown.pth")
    with pytest.raises(CheckpointError, match="unknown.pth: does not say which items it knows"):
        run({**settings, "teacher_path": "unknown.pth"})
    with pytest.raises(ConfigError, match="reads sequences of 6 items, the student 9"):
        run({**settings, "teacher_path": path, "MAX_ITEM_LIST_LENGTH": 9})
    with pytest.raises(ConfigError, match="give one of them"):
        run({**settings, "teacher_path": path, "teacher": STOCK})
    shuffled = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "TO", "mode": "full"}
    with pytest.raises(ConfigError, match="trained on another split .*'LS'.*same eval_args"):
        run({**settings, "teacher_path": path, "eval_args": shuffled})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"recipe": "distilation"}, "did you mean 'distillation'"),
        ({"recipe": "cross_entropy", "teacher": STOCK}, "cross_entropy has no teacher"),
        ({"teacher": {"hiden_size": 3}}, "teacher: hiden_size.*unknown key"),
        ({"teacher": {"model": "SASrec"}}, "teacher: model='SASrec'"),
        ({"teacher": {"model": 5}}, "teacher: model=5: expected the name of a model"),
        ({"teacher": {"model": ["SASRec"]}}, r"teacher: model=\['SASRec'\]: expected the name"),
        ({"teacher": {1: 2}}, "teacher={1: 2}: 1 is no name of a setting"),
        ({"teacher": {"model": "Caser"}}, "teacher Caser: asks for 'user_id'; a teacher is one"),
        (
            {"teacher": {"model": "NextItNet"}},
            "teacher NextItNet: has no session vector .* set kd_contrastive_weight=0",
        ),
        ({"teacher": {"dataset": "ml-1m"}}, "teacher: dataset='ml-1m' belongs to the run"),
        ({"teacher": {"user_inter_num_interval": "[9,inf)"}}, "belongs to the run"),
        ({"teacher": {"MAX_ITEM_LIST_LENGTH": 4}}, "teacher: reads sequences of 4 items"),
        ({"teacher_path": "nowhere.pth"}, "nowhere.pth: there is no such checkpoint"),
        ({"kd_temperature": 0.0}, "kd_temperature=0.0: choose a number above 0"),
        ({"kd_soft_target_weight": 1.5}, "kd_soft_target_weight=1.5: choose a number from 0 to 1"),
        ({"kd_predictive_weight": -1.0}, "kd_predictive_weight=-1.0: choose 0 or more"),
        ({"kd_reduction": "sum", "nproc": 2}, "kd_reduction=sum: every process has a part"),
        ({"kd_reduction": "sum", "kd_target_share": 0.5}, "kd_target_share=0.5: sums are over all"),
        ({"kd_target_share": 0.0}, "kd_target_share=0.0: choose a number above 0, at most 1"),
    ],
)
def test_refusals_come_before_any_training(settings, trainers, more, message):
    with pytest.raises((ConfigError, CheckpointError), match=message):
        run({**settings, **more})
    assert trainers == []


def test_a_teacher_is_asked_beforehand_without_a_trace(settings, trainers):
    def drawn():
        return random.random(), np.random.rand(), torch.rand(1).item()

    def checked(**more):
        check_run(Config("TTSASRec", "tiny", config_dict={**settings, **more}))

    before = random_state.capture()
    numbers = drawn()
    random_state.restore(before)
    checked(teacher=STOCK)
    assert drawn() == numbers and trainers == []
    # Without recombined sessions its scores are enough.
    of_scores = {"kd_contrastive_weight": 0.0, "kd_predictive_weight": 0.0}
    checked(teacher={"model": "NextItNet"}, **of_scores)


@pytest.mark.parametrize("model", ["Caser", "HGN"])
def test_what_takes_other_tensors_has_no_session_vector(model):
    """Their forward takes two tensors as well, of users and of items."""
    config = Config(model, "tiny", config_dict={"MAX_ITEM_LIST_LENGTH": 6, "use_gpu": False})
    teacher = as_teacher(made_anew(config, {"n_items": 11, "n_users": 5}))
    rows = TrainingRows(
        torch.tensor([[1, 2, 0, 0, 0, 0]]), torch.tensor([2]), torch.tensor([3]), None
    )
    with pytest.raises(ConfigError, match=f"teacher {model}: has no session vector to recombine"):
        teacher.answer(rows, with_side=True)


def test_recboles_own_models_and_functions_are_told_that_they_cannot(settings):
    stock = {key: settings[key] for key in ("recipe", "data_path", "load_col", "epochs")}
    with pytest.raises(ConfigError, match="SASRec can be its teacher"):
        run(stock, model="SASRec")
    from recbole.quick_start import run_recbole

    with pytest.raises(ConfigError, match="RecBole's own functions train with cross_entropy only"):
        run_recbole("TTSASRec", "tiny", config_dict=dict(settings), saved=False)


def test_from_the_command_line_with_a_stock_teacher(settings, capsys):
    Path("tiny.yaml").write_text("load_col: {inter: [user_id, item_id, timestamp]}\n")
    arguments = ["--model=TTSASRec", "--dataset=tiny", "--config_files=tiny.yaml", "--epochs=1"]
    arguments += ["--teacher={model: SASRec, hidden_size: 8}", "--recipe=distillation"]
    arguments += [f"--data_path={settings['data_path']}", "--MAX_ITEM_LIST_LENGTH=6", "--threads=1"]
    assert main([*arguments, "--card_path=card.json", "--show_progress=False"]) == 0
    card = json.loads(Path("card.json").read_text())
    assert card["choices"]["recipe"] == "distillation" and "SASRec" in card["files"]["teacher"]
    capsys.readouterr()
    assert main([*arguments, "--teacher_path=missing.pth"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_papers_settings_come_with_the_package(settings, trainers):
    quick = {key: settings[key] for key in ("data_path", "load_col", "state", "threads")}
    quick |= {"show_progress": False, "epochs": 1, "MAX_ITEM_LIST_LENGTH": 6}
    run_recbole_compress(
        "TTSASRec",
        "tiny",
        config_file_list=["properties/recipe/odrec_paper.yaml"],
        config_dict=quick,
    )
    teacher, student = trainers
    assert student.settings.reduction == "sum" and student.settings.soft_target == 0.8
    assert student.config["training_targets"] == teacher.config["training_targets"] == "last"
    assert student.model.item_embedding.embedding_dim == 128
    assert len(student.model.backbone.layers) == 1
