"""The game of PRecQ, with none of the published code's defects."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.utils import parametrize

from recbole_compress.trainers.adversarial_trainer import AdversarialTrainer
from recbole_compress.trainers.discrepancy_terms import output_level
from tests.trainers.data_free_case import Case


def test_the_generators_turn_leaves_the_student_and_the_teacher_alone(path):
    """In the released code G-phase gradients reach Q's embedding, and stay there."""
    case = Case(path)
    trainer = case.trainer(AdversarialTrainer)
    trainer.student.model.train()
    weights = copy.deepcopy(case.student.state_dict())
    generator = copy.deepcopy(trainer.generator_model.model.state_dict())
    trainer.generator_step(trainer.synthesised(10))
    assert all(p.grad is None for p in case.student.parameters())
    assert all(p.grad is None for p in case.teacher.parameters())
    assert all(torch.equal(w, weights[n]) for n, w in case.student.state_dict().items())
    moved = trainer.generator_model.model.state_dict()
    assert any(not torch.equal(w, generator[n]) for n, w in moved.items())


def test_the_generator_is_an_exact_copy_of_the_teacher(path):
    """The released one has a block more than its model, loaded with strict=False."""
    case = Case(path)
    generator = case.trainer(AdversarialTrainer).generator_model.model
    assert type(generator) is type(case.teacher)
    assert generator.state_dict().keys() == case.teacher.state_dict().keys()
    for name, weight in generator.state_dict().items():
        assert torch.equal(weight, case.teacher.state_dict()[name])


def test_a_frozen_item_table_stays(path):
    case = Case(path, df_freeze_generator_items=True, df_generator_learning_rate=0.1)
    trainer = case.trainer(AdversarialTrainer)
    trainer.generator_step(trainer.synthesised(10))
    generator = trainer.generator_model.model
    assert torch.equal(generator.item_embedding.weight, case.teacher.item_embedding.weight)
    assert not torch.equal(
        generator.position_embedding.weight, case.teacher.position_embedding.weight
    )


def test_the_generator_makes_the_discrepancy_larger(path):
    """Its steps go uphill, on the sequences that they were taken on, in expectation."""
    case = Case(path, df_generator_learning_rate=0.01, df_gumbel_temperature=1.0)
    trainer = case.trainer(AdversarialTrainer)
    torch.manual_seed(0)

    def discrepancy():
        with torch.no_grad():
            sequences = trainer.synthesised(400)
            places = trainer.teacher.next_places(sequences)
            readings = [r.read(places) for r in (trainer.student, trainer.teacher)]
            weights = trainer.settings.discrepancy
            n_items = trainer.teacher.n_items
            return sum(output_level(*readings, places, sequences, n_items, weights).parts).item()

    before = discrepancy()
    for _ in range(30):
        trainer.generator_step(trainer.synthesised(30))
    assert discrepancy() > before + 0.05


def test_turns_come_as_often_as_the_schedule_says(path, monkeypatch):
    turns = []
    monkeypatch.setattr(
        AdversarialTrainer, "generator_step", lambda self, made: turns.append(self._position)
    )
    settings = {"df_student_steps": 2, "df_warmup_epochs": 1, "df_epochs": 3}
    Case(path, **settings).trainer(AdversarialTrainer).fit(saved=False, verbose=False)
    assert turns == [(1, 1), (2, 0), (2, 2)]  # every second of nine steps, none in the first pass
    turns.clear()
    Case(path, df_synthesis="epsilon_greedy").trainer(AdversarialTrainer).fit(
        saved=False, verbose=False
    )
    assert turns == []


def test_the_discrepancy_sees_the_student_quantized(path):
    """In the released code it reads the fp32 table everywhere that matters."""
    case = Case(path)
    trainer = case.trainer(AdversarialTrainer)
    rows = trainer.student.item_vectors()[1:].detach()
    assert max(len(row.unique()) for row in rows) <= 4  # 2 bits
    sequences = trainer.synthesised(5)
    places = trainer.teacher.next_places(sequences)
    reading = trainer.student.read(places)
    full = copy.deepcopy(case.teacher)
    unquantized = type(trainer.teacher)(full, True).read(places)
    ids = sequences.item_seq[places.row, places.seen].unsqueeze(1)
    ours = reading.item_scores(reading.states, ids)
    assert not torch.allclose(ours, unquantized.item_scores(unquantized.states, ids), atol=0.1)
    # Single items are scored as in the product with all of them, rounded states included.
    of_all = reading.scores(reading.states).gather(1, ids)
    torch.testing.assert_close(ours, of_all, atol=1e-5, rtol=1e-5)


def test_picks_are_those_of_the_generator(path):
    trainer = Case(path, df_gumbel_items=1, df_min_length=8).trainer(AdversarialTrainer)
    made = trainer.synthesised(20)
    reading = trainer.teacher.read(trainer.teacher.next_places(made))
    places = trainer.teacher.next_places(made)
    best = reading.scores(reading.states)[:, 1:].argmax(1) + 1
    assert (best == made.item_seq[places.row, places.seen]).all()


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "BERT4Rec"])
def test_every_part_of_the_loss_reads_the_student_quantized(path, model):
    """The released negatives, ranking and similarity index the fp32 table: here nothing changes
    when the numbers behind the grid do, within their cells."""
    case = Case(path, model)
    trainer = case.trainer(AdversarialTrainer)
    torch.manual_seed(0)
    sequences = trainer.synthesised(5)

    def parts():
        torch.manual_seed(1)
        with torch.no_grad():
            found = trainer._discrepancy(sequences)
            return [*found, trainer._divergence(trainer.student, sequences)]

    before = parts()
    assert len(before) == 5  # L+, L-, L_RD, L_Sim and the divergence
    with torch.no_grad():
        for module in case.student.modules():
            if parametrize.is_parametrized(module):
                for name, chain in module.parametrizations.items():
                    chain.original.copy_(0.8 * getattr(module, name) + 0.2 * chain.original)
    for now, then in zip(parts(), before, strict=True):
        assert now == then


def test_the_generator_reads_and_picks_like_the_teacher(path):
    """The released one starts its GRU from a random state instead of the teacher's zeros."""
    trainer = Case(path, "GRU4Rec").trainer(AdversarialTrainer)
    sequences = trainer.synthesised(20)
    places = trainer.teacher.next_places(sequences)
    generator = type(trainer.teacher)(trainer.generator_model.model, trainer.teacher.trims)
    with torch.no_grad():
        wanted, first, again = (r.read(places).states for r in (trainer.teacher, *[generator] * 2))
    assert torch.equal(first, wanted) and torch.equal(again, wanted)


@pytest.mark.parametrize("synthesis", ["gumbel", "epsilon_greedy"])
@pytest.mark.parametrize("model", ["GRU4Rec", "SASRec"])
def test_all_stages_run(path, model, synthesis):
    """The released game stops with a TypeError in sampling, in its generator and in stage 0."""
    settings = {"df_synthesis": synthesis, "df_warmup_epochs": 1, "df_epochs": 2}
    trainer = Case(path, model, df_gumbel_items=7, **settings).trainer(AdversarialTrainer)
    trainer.fit(saved=False, verbose=False)
    assert trainer.epochs_done == 2
