"""Recipes without data: they learn, resume, and have none of the published code's defects."""

from __future__ import annotations

import copy
import inspect
from types import SimpleNamespace

import pytest
import torch
from torch.nn.utils import parametrize

from recbole_compress import datafree
from recbole_compress.config import Config
from recbole_compress.data.train_sequences import train_sequences
from recbole_compress.datafree import Sequences, gumbel_top_k, sample_sequences
from recbole_compress.errors import ConfigError
from recbole_compress.quantization import QuantizationSpec, quantize_
from recbole_compress.quick_start.host_models import dataset_class
from recbole_compress.trainers.adversarial_trainer import AdversarialTrainer
from recbole_compress.trainers.checkpoint import load_checkpoint
from recbole_compress.trainers.datafree_recipe import start_again_
from recbole_compress.trainers.datafree_trainer import NoiseTrainer, QATTrainer, SelfSampleTrainer
from recbole_compress.trainers.discrepancy_terms import output_level
from recbole_compress.trainers.generated_batches import GeneratedBatches
from recbole_compress.trainers.quantization_recipes import QuantizationJob, recipe_named
from recbole_compress.trainers.safe_trainer import SafeTrainer
from tests.conftest import SEQUENCES, write_interactions

SETTINGS = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "MAX_ITEM_LIST_LENGTH": 8,
    "df_sequences": 60,
    "df_valid_sequences": 100,
    "df_batch_size": 20,
    "df_epochs": 4,
    "df_learning_rate": 0.003,
    "df_grid_rate": 0.02,
    "df_ranking_items": 5,
    "df_similarity_items": 20,
    "df_student_steps": 2,
}
SMALL = {
    "SASRec": {"hidden_size": 16, "inner_size": 16},
    "BERT4Rec": {"hidden_size": 16, "inner_size": 16},
    "GRU4Rec": {"hidden_size": 16, "embedding_size": 16},
}
ALONE = [SelfSampleTrainer, NoiseTrainer, AdversarialTrainer]


class Case:
    """A teacher and a student of 2 bits."""

    def __init__(self, path, model="SASRec", **settings):
        settings = {**SETTINGS, **SMALL.get(model, {}), "data_path": path, **settings}
        self.config = Config(model, "tiny", config_dict=settings)
        self.split = dataset_class(self.config)(self.config).build()[0]
        torch.manual_seed(0)
        self.teacher = self.config.model_class(self.config, self.split).eval()
        with torch.no_grad():
            for parameter in self.teacher.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        self.student = copy.deepcopy(self.teacher)
        quantize_(self.student, QuantizationSpec(2, 2, activation_bits=8, learn_steps=True))

    def trainer(self, kind, **arguments):
        if kind is QATTrainer:
            arguments["real"] = Sequences(*train_sequences(self.split, 8))
        return kind(self.config, self.student, self.teacher, **arguments)


@pytest.fixture
def path(in_tmp):
    return write_interactions(in_tmp, "tiny", SEQUENCES)


@pytest.mark.parametrize("kind", [*ALONE, QATTrainer])
def test_a_student_comes_closer_to_its_teacher(path, kind):
    case = Case(path)
    before = {name: weight.clone() for name, weight in case.teacher.state_dict().items()}
    trainer = case.trainer(kind)
    _, first = trainer._valid_epoch(None)
    score, result = trainer.fit(saved=False, verbose=False)
    # The discrepancy looks at other things than the divergence, and gets at least near.
    assert result["divergence"] < first["divergence"] * (
        0.8 if kind is not AdversarialTrainer else 1.2
    )
    assert trainer._valid_epoch(None)[0] == score  # the best weights are in the model
    for name, weight in case.teacher.state_dict().items():
        assert torch.equal(weight, before[name])


@pytest.mark.parametrize("model", ["GRU4Rec", "BERT4Rec", "NARM", "CpRecNextItNet", "TTSASRec"])
@pytest.mark.parametrize("kind", [SelfSampleTrainer, AdversarialTrainer])
def test_other_models(path, model, kind):
    case = Case(path, model, df_epochs=1, df_sequences=40)
    trainer = case.trainer(kind)
    assert trainer.fit(saved=False, verbose=False)[0] > 0


def test_a_readout_that_is_worked_through_in_chunks(path, monkeypatch):
    """Its backward pass computes them again, when weights are no longer kept on their grid."""
    monkeypatch.setattr("recbole_compress.backbones.readout._BUFFER_ELEMENTS", 1)
    trainer = Case(path, "TTSASRec", df_epochs=1, df_sequences=40).trainer(SelfSampleTrainer)
    assert trainer.fit(saved=False, verbose=False)[0] > 0


@pytest.mark.parametrize("kind", ALONE)
def test_an_interrupted_training_ends_where_a_whole_one_does(path, kind, monkeypatch):
    whole = Case(path).trainer(kind)
    torch.manual_seed(7)
    whole.fit(verbose=False)

    class Interrupted(Exception):
        pass

    train_epoch = SafeTrainer._train_epoch

    def interrupt(self, train_data, epoch, *args, **kwargs):
        if epoch == 2:
            raise Interrupted
        return train_epoch(self, train_data, epoch, *args, **kwargs)

    half = Case(path).trainer(kind)
    torch.manual_seed(7)
    with monkeypatch.context() as patch:
        patch.setattr(SafeTrainer, "_train_epoch", interrupt)
        with pytest.raises(Interrupted):
            half.fit(verbose=False)
    case = Case(path, df_resume=half.saved_model_file)
    resumed = case.trainer(kind)
    torch.manual_seed(99)
    resumed.fit(verbose=False)
    first = load_checkpoint(whole.saved_model_file)["state_dict"]
    second = load_checkpoint(resumed.saved_model_file)["state_dict"]
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name


@pytest.mark.parametrize("bits", [2, 4])
def test_what_is_on_a_grid_moves_in_its_steps(path, bits):
    """Adam's first step is as long as its rate: a share of the grid's step."""
    case = Case(
        path, df_grid_rate=2.0 ** (bits / 2) / 8, df_learning_rate=0.125, df_schedule="constant"
    )
    student = copy.deepcopy(case.teacher)
    quantize_(student, QuantizationSpec(bits, bits, learn_steps=True))
    trainer = SelfSampleTrainer(case.config, student, case.teacher)
    before = {name: weight.detach().clone() for name, weight in student.named_parameters()}
    pool = GeneratedBatches(trainer._of_this_epoch, trainer._epoch_size(), 20)
    trainer._train_epoch([next(iter(pool))], 0)

    def moved(name):
        return (student.get_parameter(name) - before[name]).abs().max().item()

    layer = "trm_encoder.layer.0.feed_forward.dense_1"
    scales = student.get_submodule(layer).parametrizations.weight[0].scales
    step = before[f"{layer}.parametrizations.weight.0.scales"].abs().mean().item()
    assert moved(f"{layer}.parametrizations.weight.original") == pytest.approx(step / 4, rel=0.01)
    assert scales.requires_grad
    assert moved("LayerNorm.bias") == pytest.approx(0.125, rel=0.01)


@pytest.mark.parametrize("settings", [{"df_grid_rate": 0}, {"df_start": "random"}])
def test_without_a_grid_rate_all_moves_at_one(path, settings):
    trainer = Case(path, **settings).trainer(SelfSampleTrainer)
    assert [group["initial_lr"] for group in trainer.optimizer.param_groups] == [0.003]


def test_a_grid_rate_below_zero(path):
    with pytest.raises(ConfigError, match=r"df_grid_rate=-1.0: choose 0 or more"):
        Case(path, df_grid_rate=-1.0).trainer(SelfSampleTrainer)


@pytest.mark.parametrize("saved", [True, False])
def test_a_training_that_only_harms_changes_nothing(path, saved):
    case = Case(path, df_learning_rate=10.0, df_grid_rate=10.0, df_epochs=2)
    before = copy.deepcopy(case.student.state_dict())
    trainer = case.trainer(SelfSampleTrainer)
    first, _ = trainer._valid_epoch(None)
    assert trainer.fit(saved=saved, verbose=False)[0] == first
    assert all(torch.equal(w, before[n]) for n, w in case.student.state_dict().items())


# -- no data ------------------------------------------------------------------------------------


def test_no_signature_takes_a_data_set():
    for kind in ALONE:
        for method in (kind.__init__, kind.fit, kind.sequences):
            names = set(inspect.signature(method).parameters)
            assert not {name for name in names if "data" in name}
    for name in datafree.__all__:
        thing = getattr(datafree, name)
        text = str(inspect.signature(thing)) if callable(thing) else ""
        assert "ataset" not in text and "oader" not in text


@pytest.mark.parametrize("kind", ALONE)
def test_nothing_reads_the_data_set(path, kind, in_tmp):
    case = Case(path, df_epochs=1)
    (in_tmp / "tiny" / "tiny.inter").unlink()
    (in_tmp / "tiny").rmdir()
    del case.split
    assert case.trainer(kind).fit(saved=False, verbose=False)[0] > 0


# -- what the released code of PRecQ gets wrong -------------------------------------------------


def test_gradients_do_not_pile_up_over_steps(path):
    """The released code calls zero_grad nowhere."""
    trainer = Case(path).trainer(SelfSampleTrainer)
    seen = []
    step, loss = trainer.optimizer.step, trainer.loss

    def watch(*args, **kwargs):
        batch = seen[-1]
        found = [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None]
        state = torch.get_rng_state()
        fresh = torch.autograd.grad(
            loss(batch), [p for p in trainer.model.parameters() if p.grad is not None]
        )
        torch.set_rng_state(state)
        for mine, wanted in zip(found, fresh, strict=True):
            torch.testing.assert_close(mine, wanted, atol=1e-5, rtol=1e-3)
        return step(*args, **kwargs)

    def remember(sequences):
        seen.append(sequences)
        return loss(sequences)

    trainer.loss = remember
    trainer.optimizer.step = watch
    trainer.epochs = 1
    trainer.fit(saved=False, verbose=False)
    assert len(seen) >= 3


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


def test_validation_is_repeatable_and_counts_every_held_out_sequence(path):
    """The released evaluation skips batches at random, on the test split, from random states."""
    case = Case(path, "GRU4Rec")
    trainer = case.trainer(AdversarialTrainer)
    first = trainer._valid_epoch(None)
    torch.manual_seed(123)
    assert trainer._valid_epoch(None) == first
    sequences, reading, best = trainer._held_out
    assert len(sequences.lengths) == len(reading.states) == len(best) == 100


def test_training_compares_models_and_not_dropouts(path):
    trainer = Case(path, hidden_dropout_prob=0.5).trainer(SelfSampleTrainer)
    losses = []
    loss = trainer.loss

    def twice(sequences):
        losses.append((loss(sequences).item(), loss(sequences).item()))
        return loss(sequences)

    trainer.loss = twice
    trainer.fit(saved=False, verbose=False)
    assert all(first == second for first, second in losses)


def test_picks_are_those_of_the_generator(path):
    trainer = Case(path, df_gumbel_items=1, df_min_length=8).trainer(AdversarialTrainer)
    made = trainer.synthesised(20)
    again = sample_sequences(
        trainer.generator_model, 1, draw=lambda scores: gumbel_top_k(scores, 1)
    )
    assert again.item_seq.shape[0] == 1
    reading = trainer.teacher.read(trainer.teacher.next_places(made))
    places = trainer.teacher.next_places(made)
    best = reading.scores(reading.states)[:, 1:].argmax(1) + 1
    assert (best == made.item_seq[places.row, places.seen]).all()


@pytest.mark.parametrize(
    "key, value",
    [("df_epochs", 0), ("df_temperature", 0.0), ("df_epsilon", 2.0), ("df_ranking_weight", -1.0)],
)
def test_a_value_out_of_range_is_one_line(path, key, value):
    with pytest.raises(ConfigError, match=key):
        Case(path, **{key: value}).trainer(SelfSampleTrainer)


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


def test_the_best_pass_is_chosen_on_sequences_of_its_own(path, monkeypatch):
    """The released training stops early by its hits on the test split."""
    case = Case(path)
    trainer = case.trainer(SelfSampleTrainer)
    monkeypatch.setattr(trainer, "evaluate", None)  # RecBole's, on a split
    trainer.fit(saved=False, verbose=False)
    held_out = trainer._held_out[0].item_seq
    trained_on = trainer._of_this_epoch().item_seq
    known = (held_out[:, None] == trained_on[None]).all(2).any(1)  # short ones may recur
    assert known.float().mean() < 0.2


# -- real sequences ---------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["SASRec", "CpRecNextItNet"])
def test_real_sequences_show_the_train_split_once(path, model):
    case = Case(path, model, MAX_ITEM_LIST_LENGTH=4)
    item_seq, lengths = train_sequences(case.split, 4)
    assert item_seq.shape[1] == 4 and lengths.min() >= 2
    # Everyone's last two items are for validation and test; a rest of one item is left out.
    shown = [len(s) - 2 for s in SEQUENCES]
    assert lengths.sum() == sum(n - (n % 4 == 1) for n in shown)


# -- recipes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["self_sample", "adversarial", "noise", "qat"])
@pytest.mark.parametrize("start", ["teacher", "random"])
def test_recipes_quantize_the_model_that_they_are_given(path, name, start):
    case = Case(path, df_epochs=1, df_start=start, activation_range="static")
    model = copy.deepcopy(case.teacher)
    loader = SimpleNamespace(_dataset=case.split)
    spec = QuantizationSpec(4, 2, activation_bits=8, activation_range="static")
    recipe = recipe_named(name)
    assert recipe.needs_data == (name == "qat")
    work = recipe.quantize(QuantizationJob(model, spec, case.config, lambda: loader))
    assert work.passes == 1 and work.sequences == case.config["calibration_sequences"] + 60
    assert {row.bits for row in work.report.rows} == {4, 2, 32}
    assert max(len(row.unique()) for row in model.item_embedding.weight) <= 4
    original = model.item_embedding.parametrizations.weight.original
    near = torch.nn.functional.cosine_similarity(original, case.teacher.item_embedding.weight)
    assert (near[1:].mean() > 0.9) == (start == "teacher")  # not copied: the released code's way


def test_a_random_start_forgets_everything(path):
    for name in ("SASRec", "GRU4Rec", "BERT4Rec", "NARM"):
        teacher = Case(path, name).teacher
        student = copy.deepcopy(teacher)
        start_again_(student)
        for key, weight in student.named_parameters():
            if weight.dim() > 1:
                assert not torch.allclose(weight, dict(teacher.named_parameters())[key]), key
