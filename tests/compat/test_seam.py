"""Our names work in RecBole's own functions, and RecBole's private layout is as known."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from tests.conftest import write_interactions

SETTINGS = {
    "epochs": 1,
    "embedding_size": 8,
    "dilations": [1],
    "MAX_ITEM_LIST_LENGTH": 5,
    "state": "ERROR",
    "train_batch_size": 64,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "show_progress": False,
}
SEQUENCES = [[f"i{(user * 7 + step * step) % 23}" for step in range(8)] for user in range(30)]


@pytest.fixture
def settings(in_tmp):
    return {**SETTINGS, "data_path": write_interactions(in_tmp, "tiny", SEQUENCES)}


def test_recboles_layout_is_as_known():
    """Fails loudly when RecBole moves what ``registry`` and ``compat`` build on."""
    import recbole
    from recbole.config import Config
    from recbole.data import dataset, utils
    from recbole.evaluator import Collector
    from recbole.trainer import Trainer
    from recbole.utils import get_model, get_trainer

    assert recbole.__version__.startswith("1.2.")
    assert get_model("SASRec").__module__ == "recbole.model.sequential_recommender.sasrec"
    assert get_trainer(None, "CpRecNextItNet").__name__ == "CompressTrainer"
    for owner, names in {
        Config: ["_load_internal_config_dict", "_load_cmd_line", "_convert_config_dict"],
        dataset.SequentialDataset: ["_change_feat_format", "data_augmentation", "_load_feat"],
        Trainer: ["_save_checkpoint", "_valid_epoch", "_check_nan", "_train_epoch"],
        Collector: ["eval_batch_collect", "get_data_struct"],
        utils: ["create_samplers", "get_dataloader"],
    }.items():
        for name in names:
            assert callable(getattr(owner, name)), f"{owner}.{name} is gone"


def test_runs_that_begin_together_share_their_folders(in_tmp, monkeypatch):
    """Both see that a folder is missing; both make it."""
    from recbole.data import utils
    from recbole.trainer import trainer
    from recbole.utils import logger

    monkeypatch.setattr("os.path.exists", lambda path: False)
    for module in (logger, trainer, utils):
        for _ in range(2):
            module.ensure_dir("log")


def test_anomaly_mode_is_off_and_numpy_names_are_back():
    assert not torch.is_anomaly_enabled()
    assert np.float_ is np.float64


@pytest.mark.parametrize("model, mode", [("GRU4RecCPR", "full"), ("SASRecCPR", "uni5")])
def test_models_that_copy_or_not_are_run(settings, model, mode):
    """With RecBole as it comes, counting their operations ends the run."""
    from recbole_compress.quick_start.quick_start import run_recbole_compress

    other = ["dilations", "embedding_size"]
    given = {
        **{key: value for key, value in settings.items() if key not in other},
        "hidden_size": 8,
        "reranker_CAN_NUM": 5,
        "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": mode},
    }
    result = run_recbole_compress(model, "tiny", config_dict=given)
    assert 0 < result["test_result"]["recall@10"] <= 1


def test_run_recbole_by_name_and_by_class(settings):
    from recbole.quick_start import run_recbole

    from recbole_compress.models import CpRecNextItNet

    for model in ("CpRecNextItNet", CpRecNextItNet):
        result = run_recbole(model=model, dataset="tiny", config_dict=dict(settings))
        assert 0 <= result["test_result"]["ndcg@10"] <= 1


def test_objective_function_and_hyper_tuning(settings):
    from recbole.quick_start import objective_function

    merged = {**settings, "model": "CpRecGRU4Rec", "dataset": "tiny"}
    merged.pop("dilations")
    result = objective_function(config_dict=merged, saved=False)
    assert result["model"] == "CpRecGRU4Rec"


def test_hyper_tuning(settings):
    pytest.importorskip("hyperopt")
    from recbole.quick_start import objective_function
    from recbole.trainer import HyperTuning

    fixed = {**settings, "model": "CpRecNextItNet", "dataset": "tiny"}
    Path("fixed.yaml").write_text(yaml.safe_dump(fixed))
    tuning = HyperTuning(
        objective_function,
        algo="exhaustive",
        params_dict={"choice": {"learning_rate": [0.01, 0.001]}},
        fixed_config_file_list=["fixed.yaml"],
        early_stop=5,
    )
    tuning.run()
    assert tuning.best_params["learning_rate"] in (0.01, 0.001)
    assert len(tuning.params2result) == 2


def test_load_data_and_model_and_case_study_in_a_fresh_process(settings):
    from recbole_compress.quick_start.quick_start import run_recbole_compress

    result = run_recbole_compress("CpRecNextItNet", "tiny", config_dict=dict(settings))
    script = f"""
    import recbole_compress, torch
    from recbole.quick_start import load_data_and_model
    from recbole.utils.case_study import full_sort_topk
    config, model, dataset, train, valid, test = load_data_and_model({result["checkpoint"]!r})
    users = dataset.token2id(dataset.uid_field, ["u0", "u3"])
    scores, items = full_sort_topk(users, model, test, k=4)
    print(type(model).__name__, tuple(items.shape), bool((items > 0).all()))
    print(torch.is_anomaly_enabled())
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().endswith("CpRecNextItNet (2, 4) True\nFalse")


def test_unknown_python_model_names_do_not_clash():
    from recbole_compress.config.registry import register

    class SASRec:  # RecBole has one
        pass

    with pytest.raises(ValueError, match="already has a model of that name"):
        register(SASRec)


def test_the_stand_in_for_ray_is_recboles_alone():
    """Other libraries ask whether there is a ray, as they would without us."""
    code = """
        import importlib.util, sys
        before = importlib.util.find_spec("ray")
        import recbole_compress
        from recbole.quick_start import quick_start
        quick_start.tune.report(loss=1.0)
        after = importlib.util.find_spec("ray")
        assert (before is None) == (after is None), (before, after)
        assert before is not None or "ray" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_recbole_reports_to_a_ray_that_wants_one_dict(monkeypatch):
    """Whether or not there is a ray: only its side of the call is played."""
    from recbole.quick_start import quick_start

    from recbole_compress.compat import ray_report

    reported = []

    def report(metrics, *, checkpoint=None):
        warnings.warn("`report` is meant to only be called inside a function", stacklevel=1)
        reported.append(metrics)

    monkeypatch.setattr(quick_start, "tune", SimpleNamespace(report=report))
    ray_report.adapt()
    quick_start.tune.report(**{"recall@10": 0.5})
    ray_report.adapt()  # once is enough
    quick_start.tune.report(**{"recall@10": 0.6})
    assert reported == [{"recall@10": 0.5}, {"recall@10": 0.6}]
