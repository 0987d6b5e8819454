"""What the distillation recipe cannot carry out is refused, before anything is trained."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from recbole_compress.config import Config
from recbole_compress.errors import CheckpointError, ConfigError
from recbole_compress.models.compressed_recommender import TrainingRows
from recbole_compress.quick_start.checks import check_run
from recbole_compress.quick_start.from_checkpoint import made_anew
from recbole_compress.trainers import random_state
from recbole_compress.trainers.checkpoint import load_checkpoint, save_checkpoint
from recbole_compress.trainers.teacher import as_teacher
from tests.conftest import write_interactions
from tests.trainers.distillation_case import STOCK, run, settings_in

SOFT = "kd_soft_target_weight"


@pytest.fixture
def settings(in_tmp):
    return settings_in(in_tmp)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"recipe": "distilation"}, "did you mean 'distillation'"),
        ({"recipe": "cross_entropy", "teacher": STOCK}, "cross_entropy has no teacher"),
        (
            dict.fromkeys(("kd_contrastive_weight", "kd_predictive_weight", SOFT), 0.0),
            "kd_soft_target_weight=0, .*: nothing is learned from the teacher",
        ),
        ({"teacher": {"model": "DIN"}}, "teacher DIN: gives no scores of all items"),
        ({"teacher": {"weight_bits": 4}}, "teacher: weight_bits=4 belongs to the run"),
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
        ({"teacher": {"model": "Pop"}}, "teacher: the scores of Pop only order the items"),
        ({"teacher": {"model": "Recency"}}, "teacher: the scores of Recency only order the items"),
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
        ({"kd_start": "teacher", "teacher": STOCK}, "teacher is SASRec, no model of this"),
        (
            {"kd_start": "teacher", "teacher": {"embedding_size": 16}},
            "kd_start=teacher: teacher has item vectors of 16 numbers, the student of",
        ),
        ({"kd_start": "teachers"}, "kd_start='teachers'"),
        # Of the student's model and of the catalogue.
        ({"tt_row_shape": [2, 3], "tt_col_shape": [2, 4]}, "tt_row_shape"),
        ({"topk": [10, 900]}, r"topk=\[10, 900\]: tiny has .* after filtering"),
    ],
)
def test_refusals_come_before_any_training(settings, trainers, more, message):
    with pytest.raises((ConfigError, CheckpointError), match=message):
        run({**settings, **more})
    assert trainers == []


def test_a_teacher_that_was_trained_on_the_students_test_rows(settings, in_tmp):
    """Without its latest rows, every sequence of the student ends where the teacher trained."""
    rows = [f"u{u}\ti{(u * 3 + time) % 20}\t{time}" for time in range(9) for u in range(30)]
    write_interactions(in_tmp, "timed", [], extra_rows=rows)
    whole = {**settings, "recipe": "cross_entropy", "item_embedding": "dense", "epochs": 1}
    path = run(whole, dataset="timed")["checkpoint"]
    of_older_rows = {"teacher_path": path, "epochs": 1, "val_interval": {"timestamp": "[0,6]"}}
    with pytest.raises(CheckpointError, match=rf"teacher_path={path}: trained on other rows"):
        run({**settings, **of_older_rows}, dataset="timed")
    # One of before, which does not say.
    save_checkpoint({**load_checkpoint(path), "train_rows_sha256": None}, path)
    run({**settings, **of_older_rows}, dataset="timed")


def test_a_finished_baseline_is_no_teacher_either(settings):
    of_the_data = {k: settings[k] for k in ("data_path", "load_col", "MAX_ITEM_LIST_LENGTH")}
    pop = run({**of_the_data, "epochs": 1, "state": "ERROR"}, model="Pop")["checkpoint"]
    with pytest.raises(ConfigError, match=rf"teacher_path={pop}: the scores of Pop only order"):
        run({**settings, "teacher_path": pop})


def test_a_quantized_students_teacher_is_not_quantized(settings):
    cores = {"quantization_overrides": {"item_embedding.cores*": {"bits": 4}}}
    check_run(Config("DFQTTSASRec", "tiny", config_dict={**settings, **cores}))


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


@pytest.mark.parametrize("model", ["NextItNet", "BERT4Rec", "CORE", "RepeatNet"])
def test_scores_are_enough_where_nothing_is_recombined(settings, model):
    own = {k: v for k, v in settings.items() if not k.startswith("kd_")}

    def checked(**more):
        teacher = {"model": model, "loss_type": "CE", "train_neg_sample_args": None}
        check_run(Config("TTSASRec", "tiny", config_dict={**own, "teacher": teacher, **more}))

    checked()
    for key in ("kd_contrastive_weight", "kd_predictive_weight"):
        with pytest.raises(ConfigError, match=f"teacher {model}: has no .* to recombine"):
            checked(**{key: 0.1})


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
    with pytest.raises(ConfigError, match="SASRec can teach one: --model=TTSASRec"):
        run(stock, model="SASRec")
    with pytest.raises(ConfigError, match="is for the models of this package, not for Pop$"):
        run(stock, model="Pop")
    from recbole.quick_start import run_recbole

    with pytest.raises(ConfigError, match="RecBole's own functions train with cross_entropy only"):
        run_recbole("TTSASRec", "tiny", config_dict=dict(settings), saved=False)
