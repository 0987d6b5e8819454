"""The distillation recipe: phases, resumption, a teacher that is used again, what is trained."""

from __future__ import annotations

import glob
import json
from pathlib import Path

import pytest
import torch

from recbole_compress.data.loaders import split_of
from recbole_compress.errors import CheckpointError, ConfigError
from recbole_compress.quick_start.command_line import main
from recbole_compress.quick_start.quick_start import run_recbole_compress
from recbole_compress.trainers.checkpoint import load_checkpoint, save_checkpoint
from recbole_compress.trainers.distillation_trainer import DistillationTrainer
from recbole_compress.trainers.safe_trainer import SafeTrainer
from tests.conftest import SEQUENCES, write_interactions
from tests.cut_runs import assert_same_weights, cut_at
from tests.marks import slow
from tests.trainers.distillation_case import STOCK, run, settings_in


@pytest.fixture
def settings(in_tmp):
    return settings_in(in_tmp)


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
    assert card["choices"]["kd_contrastive_weight"] == 0.2
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


@pytest.mark.parametrize(
    "table",
    [
        {"item_embedding": "low_rank", "low_rank_dim": 8},  # of full rank
        {"item_embedding": "dense"},
    ],
)
def test_a_student_that_begins_with_its_teachers_weights(settings, trainers, table):
    begins = {"kd_start": "teacher", "learning_rate": 1e-12, "epochs": 1, **table}
    run({**settings, **begins, "teacher": {"learning_rate": 0.01, "epochs": 3}})
    teacher, student = (trainer.model for trainer in trainers)
    expected, found = (model.item_embedding.dense_weight()[1:] for model in (teacher, student))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    theirs = dict(teacher.named_parameters())
    rest = [n for n, _ in student.named_parameters() if not n.startswith("item_embedding.")]
    assert len(rest) > 10
    for name in rest:
        expected, found = theirs[name], student.get_parameter(name)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_shorter_student_begins_with_the_first_places(settings, trainers):
    begins = {"kd_start": "teacher", "learning_rate": 1e-12, "epochs": 1, "item_embedding": "dense"}
    longer = {"learning_rate": 0.01, "MAX_ITEM_LIST_LENGTH": 9}
    run({**settings, **begins, "teacher": longer})
    teacher, student = (trainer.model.backbone.position_embedding.weight for trainer in trainers)
    assert len(teacher) == 9
    torch.testing.assert_close(student, teacher[:6], rtol=1e-5, atol=1e-6)


def test_half_a_head_is_not_taken_over(settings, trainers):
    """Projections of other tables say nothing, and what a teacher of two levels scores with is
    no single table that could be come close to."""
    blocks = {"item_embedding": "blockwise", "item_head": "tied_two_level"}
    begins = {"kd_start": "teacher", "learning_rate": 1e-12, "epochs": 1, **blocks}
    teacher = {"item_embedding": "blockwise", "item_head": "two_level", "learning_rate": 0.01}
    run({**settings, **begins, "teacher": teacher}, model="CpRecSASRec")
    theirs, ours = (trainer.model.item_head.tail_projections[0] for trainer in trainers)
    assert theirs.shape == ours.shape and not torch.allclose(theirs, ours, atol=1e-2)


@pytest.mark.slow
def test_a_tensor_train_that_begins_with_its_teachers_table_is_ahead_of_chance(settings, trainers):
    once = {"epochs": 1, "learning_rate": 1e-12, "teacher": {"learning_rate": 0.01, "epochs": 20}}
    valid = [
        run({**settings, **once, "kd_start": start})["best_valid_result"]["ndcg@10"]
        for start in ("random", "teacher")
    ]
    assert valid[1] > valid[0]


@pytest.mark.parametrize("phase", [slow("teacher"), "student"])
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


@pytest.mark.parametrize("phase", ["teacher", "student"])
def test_a_run_goes_on_with_the_default_it_began_with(settings, trainers, phase):
    with cut_at(1, lambda trainer: trainer.needs_teacher == (phase == "student")) as left:
        run(settings)
    state = load_checkpoint(left[0])
    known = state["config"].final_config_dict
    # As it was left open when this was the default, in a teacher's own settings, too.
    before = {"soft_target": 0.8, "contrastive": 0.2, "predictive": 0.001}
    run_of = known["part_of"] or state["config"].external_config_dict
    for name, weight in before.items():
        known[f"kd_{name}_weight"] = weight
        run_of.pop(f"kd_{name}_weight", None)
    save_checkpoint(state, left[0])
    trainers.clear()
    run_recbole_compress(command_line=[f"--resume={left[0]}"])
    assert {name: getattr(trainers[-1].settings, name) for name in before} == before
    assert trainers[-1].recombination.contrastive is not None


def test_a_student_that_has_saved_nothing_goes_on_from_its_teacher(settings, trainers, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DistillationTrainer, "distillation_loss", interrupted)
        with pytest.raises(KeyboardInterrupt) as said:
            run(settings)
        (teacher,) = glob.glob("saved/teacher/*.pth")
        assert str(said.value) == f"--resume={teacher}"
        with pytest.raises(KeyboardInterrupt) as said:  # the same command says it all
            run({**settings, "teacher_path": teacher})
        assert str(said.value) == ""
    trainers.clear()
    resumed = run({**settings, "resume": teacher})
    assert resumed["card"]["files"]["teacher"] == teacher
    assert [trainer.saved_model_file == teacher for trainer in trainers] == [True, False]
    assert len(glob.glob("saved/teacher/*.pth")) == 1


def test_a_teacher_that_stopped_early_teaches_at_once(settings, trainers):
    early = {"stopping_step": 1, "learning_rate": 0.5, "epochs": 60}
    settings |= {"epochs": 1, "teacher": early}
    with cut_at(0, lambda trainer: trainer.needs_teacher):
        run(settings)
    (teacher,) = glob.glob("saved/teacher/*.pth")
    epochs = len(trainers[0].train_loss_dict)
    assert epochs < early["epochs"]
    run_recbole_compress(command_line=[f"--resume={teacher}"])
    again, student = trainers[2:]
    assert not again.train_loss_dict and again.epochs_done == epochs
    assert student.epochs_done == 1


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
        evaluated.append((self.finished, load_best_model, targets_of(split_of(eval_data))))
        return evaluate(self, eval_data, load_best_model, **kwargs)

    def targets_of(split):
        fields = ((field, split.inter_feat[field].numpy()) for field in ("user_id", "item_id"))
        return dict(zip(*(split.id2token(*field) for field in fields), strict=True))

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
    last_but_one, last = ({f"u{u}": s[at] for u, s in enumerate(SEQUENCES[:60])} for at in (-2, -1))
    # Both phases: every epoch, then once the best one.
    assert evaluated == 2 * [*3 * [(False, False, last_but_one)], (True, True, last)]


def test_each_phase_stops_early_and_goes_on_with_its_best_epoch(settings, trainers, monkeypatch):
    scores = {"teacher": [0.1, 0.5, 0.4, 0.3, 0.9], "student": [0.2, 0.1, 0.1, 0.9]}
    valid_epoch, evaluate = SafeTrainer._valid_epoch, SafeTrainer.evaluate
    weights, tested = {"teacher": [], "student": []}, {}

    def phase_of(trainer):
        return "student" if trainer.needs_teacher else "teacher"

    def noted(module):
        return {name: tensor.clone() for name, tensor in module.state_dict().items()}

    def told(self, valid_data, show_progress=False):
        _, result = valid_epoch(self, valid_data, show_progress)
        after = weights[phase_of(self)]
        after.append(noted(self.model))
        return scores[phase_of(self)][len(after) - 1], result

    def watched(self, eval_data, load_best_model=True, **kwargs):
        result = evaluate(self, eval_data, load_best_model, **kwargs)
        if load_best_model:
            tested[phase_of(self)] = noted(self.model)
        return result

    monkeypatch.setattr(SafeTrainer, "_valid_epoch", told)
    monkeypatch.setattr(SafeTrainer, "evaluate", watched)
    result = run({**settings, "epochs": 9, "stopping_step": 1})
    teacher, student = trainers
    assert (teacher.epochs_done, student.epochs_done) == (4, 3)
    assert teacher.finished and student.finished and result["best_valid_score"] == 0.2
    for phase, best in (("teacher", 1), ("student", 0)):
        assert same(tested[phase], weights[phase][best])
        assert not same(weights[phase][best], weights[phase][-1])
    assert same(student.teacher.model.state_dict(), weights["teacher"][1])
    assert same(load_checkpoint(result["checkpoint"])["state_dict"], weights["student"][0])


def same(weights, others):
    assert weights.keys() == others.keys()
    return all(torch.equal(weights[name], others[name]) for name in weights)


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
