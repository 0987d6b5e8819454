"""What the distillation trainer makes of a batch: gradients, weights, shares, what it asks."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from recbole_compress.config import Config
from recbole_compress.heads import UntiedHead
from recbole_compress.models.compressed_recommender import TrainingRows
from recbole_compress.quick_start.from_checkpoint import made_anew
from recbole_compress.trainers.distillation_trainer import DistillationTrainer
from recbole_compress.trainers.teacher import StockTeacher, as_teacher
from tests.trainers.distillation_case import STOCK, run, settings_in


@pytest.fixture
def settings(in_tmp):
    return settings_in(in_tmp)


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


def test_gradients_are_clipped_to_one_norm_of_all_that_learns(settings, monkeypatch):
    norms, learn_from = [], DistillationTrainer.learn_from

    def spy(self, *args):
        learn_from(self, *args)
        parts = self.model, self.recombination

        def measure(*_):
            norms.append([norm_of(part) for part in parts])

        self.optimizer.register_step_pre_hook(measure)

    def norm_of(module):
        return torch.cat([p.grad.flatten() for p in module.parameters()]).norm()

    monkeypatch.setattr(DistillationTrainer, "learn_from", spy)
    run({**settings, "epochs": 1, "clip_grad_norm": {"max_norm": 1e-3, "norm_type": 2}})
    assert norms and all(student > 0 and beside > 0 for student, beside in norms)
    for both in norms:
        torch.testing.assert_close(torch.stack(both).norm(), torch.tensor(1e-3), rtol=1e-2, atol=0)


def test_what_a_teacher_rules_out_has_no_share_and_no_nan(monkeypatch):
    settings = {"MAX_ITEM_LIST_LENGTH": 6, "use_gpu": False, "hidden_size": 8}
    model = made_anew(Config("SASRec", "tiny", config_dict=settings), {"n_items": 11, "n_users": 5})
    scores_of = model.full_sort_predict

    def without_history(batch):
        return scores_of(batch).scatter(1, batch["item_id_list"], -torch.inf)

    monkeypatch.setattr(model, "full_sort_predict", without_history)
    rows = TrainingRows(
        torch.tensor([[1, 2, 3, 0, 0, 0]]), torch.tensor([3]), torch.tensor([5]), None
    )
    scores, _ = as_teacher(model).answer(rows, with_side=False)
    head, hidden = UntiedHead(11, 8), torch.randn(1, 8)
    wanted = scores(slice(None))[:, 1:].softmax(1)
    assert not wanted[0, :3].any()
    told = head.soft_target_loss(hidden, scores)
    expected = F.kl_div(head.scores(hidden)[:, 1:].log_softmax(1), wanted, reduction="batchmean")
    torch.testing.assert_close(told, expected)


def test_a_teacher_that_gives_probabilities_is_asked_for_their_logarithms():
    settings = {"MAX_ITEM_LIST_LENGTH": 6, "use_gpu": False, "embedding_size": 8, "hidden_size": 8}
    model = made_anew(
        Config("RepeatNet", "tiny", config_dict=settings), {"n_items": 11, "n_users": 5}
    )
    teacher = as_teacher(model)
    # A full sequence leaves a part to the padding's own column, a short one nothing.
    item_seq = torch.tensor([[1, 2, 3, 4, 5, 6], [3, 2, 0, 0, 0, 0]])
    rows = TrainingRows(item_seq, torch.tensor([6, 2]), torch.tensor([7, 4]), None)
    scores, _ = teacher.answer(rows, with_side=False)
    batch = {"item_id_list": item_seq, "item_length": rows.lengths}
    said = model.full_sort_predict(batch)[:, 1:]
    taught = scores(slice(None))[:, 1:].softmax(1)
    torch.testing.assert_close(taught, said / said.sum(1, keepdim=True))
    assert taught.isfinite().all() and scores(slice(None)).isfinite().all()


def test_what_scores_are_is_decided_once():
    """No later row of logits is taken for probabilities because it happens to look like them."""
    teacher = StockTeacher(torch.nn.Identity())
    teacher.model.ITEM_SEQ, teacher.model.ITEM_SEQ_LEN, teacher.model.n_items = "s", "l", 3
    row = torch.ones(1, 1, dtype=torch.long), torch.ones(1, dtype=torch.long)
    for answer in ([0.0, 2.0, -1.0], [0.0, 0.25, 0.75]):
        teacher.model.full_sort_predict = lambda _, said=answer: torch.tensor([said])
        assert teacher._scores(*row).tolist() == [answer]
