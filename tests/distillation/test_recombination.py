"""Embedding recombination: hot and cold, student and teacher, each where it belongs."""

from __future__ import annotations

import pytest
import torch

from recbole_compress.distillation import Recombination, Side, hot_items

STUDENT, TEACHER = 4, 6
HOT = torch.tensor([False, True, True, False, False, False])  # items 1 and 2
MIXED, ONLY_HOT, ONLY_COLD, SINGLE = [1, 3, 2], [1, 2, 1], [3, 4, 5], [4]


def batch():
    sessions = [MIXED, ONLY_HOT, ONLY_COLD, SINGLE]
    item_seq = torch.zeros(4, 3, dtype=torch.long)
    for row, items in enumerate(sessions):
        item_seq[row, : len(items)] = torch.tensor(items)
    return item_seq, torch.tensor([len(items) for items in sessions])


def sides(item_seq, n, teacher_dim=TEACHER):
    generator = torch.Generator().manual_seed(5)
    tables = [torch.randn(6, d, generator=generator) for d in (STUDENT, teacher_dim)]
    vectors = [torch.randn(n, d, generator=generator) for d in (STUDENT, teacher_dim)]
    return [Side(t[item_seq], v) for t, v in zip(tables, vectors, strict=True)]


@pytest.fixture(params=[TEACHER, STUDENT], ids=["wider teacher", "same width"])
def made(request):
    torch.manual_seed(0)
    module = Recombination(HOT, STUDENT, request.param)
    item_seq, lengths = batch()
    student, teacher = sides(item_seq, 4, request.param)
    return module, item_seq, lengths, student, teacher


@pytest.mark.parametrize("task", ["contrastive", "predictive"])
def test_parts_come_from_where_the_definition_has_them(made, task):
    module, item_seq, lengths, student, teacher = made
    out = module(item_seq, lengths, None, student, teacher)
    assert out.kept.tolist() == [True, True, True, False]  # one item: nothing to recombine
    maps, views = getattr(module, task), getattr(out, task)

    def read(readout, side, members):
        vectors = side.items[0][members]
        return readout.last(vectors.unsqueeze(0), torch.tensor([len(members)]))[0]

    hot, cold = [0, 2], [1]  # places in the mixed session
    h_s, c_s = read(module.student_hot, student, hot), read(module.student_cold, student, cold)
    h_t, c_t = read(module.teacher_hot, teacher, hot), read(module.teacher_cold, teacher, cold)
    torch.testing.assert_close(views.first[0], maps.first(torch.cat([h_s, c_t])))
    torch.testing.assert_close(views.second[0], maps.second(torch.cat([h_t, c_s])))
    for row in (1, 2):  # hot only, cold only: the sessions change sides
        torch.testing.assert_close(views.first[row], maps.teacher_session(teacher.sessions[row]))
        torch.testing.assert_close(views.second[row], maps.student_session(student.sessions[row]))


def test_widths(made):
    module, item_seq, lengths, student, teacher = made
    out = module(item_seq, lengths, None, student, teacher)
    teacher_dim = teacher.sessions.shape[1]
    assert [view.shape for view in out.contrastive] == [(3, STUDENT), (3, STUDENT)]
    assert [view.shape for view in out.predictive] == [(3, STUDENT), (3, teacher_dim)]
    bridges = [name for name, _ in module.named_parameters() if "session" in name]
    assert bool(bridges) == (teacher_dim != STUDENT)


def test_trained_positions_are_the_prefixes_they_end(made):
    module, item_seq, lengths, *_ = made
    trained = torch.tensor([[1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 0, 0]]).bool()
    rows, ends = trained.nonzero().unbind(1)
    dim = made[4].sessions.shape[1]
    student, teacher = sides(item_seq, len(rows), dim)
    at_once = module(item_seq, lengths, trained, student, teacher)
    prefixes = item_seq[rows] * (torch.arange(3) <= ends.unsqueeze(1))
    alone = [Side(s.items[rows], s.sessions) for s in (student, teacher)]
    one_by_one = module(prefixes, ends + 1, None, *alone)
    torch.testing.assert_close(at_once, one_by_one)


def test_every_map_and_readout_learns(made):
    module, item_seq, lengths, student, teacher = made
    out = module(item_seq, lengths, None, student, teacher)
    sum(view.square().sum() for view in (*out.contrastive, *out.predictive)).backward()
    without = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_only_what_is_asked_for_is_made():
    module = Recombination(HOT, STUDENT, TEACHER, contrastive=False, predictive=True)
    item_seq, lengths = batch()
    out = module(item_seq, lengths, None, *sides(item_seq, 4))
    assert out.contrastive is None and out.predictive is not None
    assert not [name for name, _ in module.named_parameters() if "contrastive" in name]
    assert "hot" not in module.state_dict()


def test_hot_items_are_the_most_frequent_fifth():
    counts = torch.tensor([0, 5, 1, 1, 9, 1, 1, 5, 1, 1, 1])
    assert hot_items(counts, 0.2).nonzero().flatten().tolist() == [1, 4]
    assert not hot_items(counts, 0.0).any()
    assert hot_items(counts, 1.0).tolist() == [False] + [True] * 10
    with pytest.raises(ValueError, match="fraction=1.5"):
        hot_items(counts, 1.5)
