"""Training on made-up sequences: it learns, resumes and is judged as it should be."""

from __future__ import annotations

import copy

import pytest
import torch

from recbole_compress.errors import ConfigError
from recbole_compress.quantization import QuantizationSpec, quantize_
from recbole_compress.trainers.adversarial_trainer import AdversarialTrainer
from recbole_compress.trainers.generated_batches import GeneratedBatches
from recbole_compress.trainers.qat_trainer import QATTrainer
from recbole_compress.trainers.self_sample_trainer import SelfSampleTrainer
from tests.cut_runs import assert_same_weights, cut_at
from tests.marks import slow
from tests.trainers.data_free_case import ALONE, Case


@pytest.mark.parametrize("kind", [*ALONE[:2], slow(AdversarialTrainer), QATTrainer])
def test_a_student_comes_closer_to_its_teacher(path, kind):
    # The game learns from few numbers per place, and from what it makes in between.
    case = Case(
        path, **({"df_epochs": 12, "df_sequences": 200} if kind is AdversarialTrainer else {})
    )
    before = {name: weight.clone() for name, weight in case.teacher.state_dict().items()}
    trainer = case.trainer(kind)
    start, first = trainer._valid_epoch(None)
    score, result = trainer.fit(saved=False, verbose=False)
    assert score > start
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
    trainer.fit(saved=False, verbose=False)
    assert trainer.epochs_done == 1


@pytest.mark.parametrize("above", [None, 37])
@pytest.mark.parametrize("kind", [*ALONE, QATTrainer])
def test_a_model_with_a_pointer(path, kind, above):
    given = {"df_epochs": 1, "df_sequences": 40, "df_candidates_above": above or 10**6}
    given |= {"df_top_candidates": 8, "df_tail_candidates": 12, "repeats": "pointer"}
    trainer = Case(path, "CpRecNextItNet", **given).trainer(kind)
    trainer.fit(saved=False, verbose=False)
    assert trainer.epochs_done == 1


@pytest.mark.parametrize("model", ["SASRec", "CpRecNextItNet"])
@pytest.mark.parametrize(("above", "large"), [(37, True), (38, False)])
def test_a_large_catalogue_is_compared_on_candidates(path, monkeypatch, model, above, large):
    """There are 38 items with the padding id; more than ``df_candidates_above`` is large."""
    few = {"df_top_candidates": 8, "df_tail_candidates": 12, "df_candidates_above": above}
    case = Case(path, model, **few)
    assert case.split.item_num == 38
    trainer = case.trainer(SelfSampleTrainer)
    compared = []
    read = trainer.student.read

    def watched(places):
        reading = read(places)

        def item_scores(states, ids):
            compared.append(ids.shape[1])
            return reading.item_scores(states, ids)

        return reading._replace(item_scores=item_scores)

    monkeypatch.setattr(trainer.student, "read", watched)
    _, first = trainer._valid_epoch(None)  # on all items, whatever is trained on
    _, result = trainer.fit(saved=False, verbose=False)
    assert set(compared) == ({8 + 12} if large else set())
    losses = list(trainer.train_loss_dict.values())
    assert len(losses) == 4 and losses[-1] < 0.9 * losses[0]
    assert result["divergence"] < 0.9 * first["divergence"]


def test_a_readout_that_is_worked_through_in_chunks(path, monkeypatch):
    """Its backward pass computes them again, when weights are no longer kept on their grid."""

    def losses():
        # A step per pass: over several, a last digit takes some number to another grid point.
        few = {"df_epochs": 3, "df_sequences": 20}
        trainer = Case(path, "TTSASRec", **few).trainer(SelfSampleTrainer)
        trainer.fit(saved=False, verbose=False)
        return list(trainer.train_loss_dict.values())

    whole = losses()
    monkeypatch.setattr("recbole_compress.backbones.readout._BUFFER_ELEMENTS", 1)
    assert losses() == pytest.approx(whole, rel=1e-3) and len(whole) == 3


@pytest.mark.parametrize("kind", [*ALONE[:2], slow(AdversarialTrainer)])
def test_an_interrupted_training_ends_where_a_whole_one_does(path, kind):
    whole = Case(path).trainer(kind)
    torch.manual_seed(7)
    whole.fit(verbose=False)

    half = Case(path).trainer(kind)
    torch.manual_seed(7)
    with cut_at(2) as left:
        half.fit(verbose=False)
    resumed = Case(path, df_resume=left[0]).trainer(kind)
    torch.manual_seed(99)
    resumed.fit(verbose=False)
    assert_same_weights(whole.saved_model_file, resumed.saved_model_file)


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


def test_validation_is_repeatable_and_counts_every_held_out_sequence(path):
    """The released evaluation skips batches at random, on the test split, from random states."""
    case = Case(path, "GRU4Rec")
    trainer = case.trainer(AdversarialTrainer)
    first = trainer._valid_epoch(None)
    torch.manual_seed(123)
    assert trainer._valid_epoch(None) == first
    sequences, reading, best = trainer._held_out
    assert len(sequences.lengths) == len(reading.states) == len(best) == 100


@pytest.mark.parametrize(
    "model, dropouts",
    [
        ("SASRec", {"hidden_dropout_prob": 0.5}),
        ("CpRecSASRec", {"attn_dropout_prob": 0.5}),  # no module: an argument of torch's attention
    ],
)
def test_training_compares_models_and_not_dropouts(path, model, dropouts):
    trainer = Case(path, model, **dropouts).trainer(SelfSampleTrainer)
    losses = []
    loss = trainer.loss

    def twice(sequences):
        losses.append((loss(sequences).item(), loss(sequences).item()))
        return loss(sequences)

    trainer.loss = twice
    trainer.fit(saved=False, verbose=False)
    assert losses and all(first == second for first, second in losses)


@pytest.mark.parametrize(
    "key, value",
    [("df_epochs", 0), ("df_temperature", 0.0), ("df_epsilon", 2.0), ("df_ranking_weight", -1.0)],
)
def test_a_value_out_of_range_is_one_line(path, key, value):
    with pytest.raises(ConfigError, match=key):
        Case(path, **{key: value}).trainer(SelfSampleTrainer)


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
