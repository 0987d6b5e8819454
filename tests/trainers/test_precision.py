"""How exactly matrices are multiplied is a matter of training only."""

from __future__ import annotations

import pytest
import torch

from recbole_compress.errors import ConfigError
from recbole_compress.models import CpRecNextItNet
from recbole_compress.quick_start.quick_start import run_recbole_compress

SETTINGS = {
    "epochs": 1,
    "MAX_ITEM_LIST_LENGTH": 6,
    "embedding_size": 8,
    "dilations": [1],
    "state": "ERROR",
    "show_progress": False,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
}


def run(path, **more):
    return run_recbole_compress(
        "CpRecNextItNet", "tiny", config_dict={**SETTINGS, "data_path": path, **more}
    )


@pytest.mark.parametrize("wanted", ["highest", "medium"])
def test_products_are_rounded_in_training_and_exact_in_evaluation(path, monkeypatch, wanted):
    seen = {"calculate_loss": set(), "topk": set()}

    def watch(name):
        method = getattr(CpRecNextItNet, name)

        def watched(*arguments, **keywords):
            seen[name].add(torch.get_float32_matmul_precision())
            return method(*arguments, **keywords)

        monkeypatch.setattr(CpRecNextItNet, name, watched)

    for name in seen:
        watch(name)
    run(path, train_matmul_precision=wanted)
    assert seen == {"calculate_loss": {wanted}, "topk": {"highest"}}


def test_autocast_computes_in_the_short_floats_that_are_asked_for(path, monkeypatch):
    before, seen = torch.get_autocast_dtype("cpu"), set()
    calculate_loss = CpRecNextItNet.calculate_loss

    def watched(self, interaction):
        seen.add((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        return calculate_loss(self, interaction)

    monkeypatch.setattr(CpRecNextItNet, "calculate_loss", watched)
    run(path, enable_amp=True, amp_dtype="float16", use_gpu=False)
    assert seen == {(True, torch.float16)} and before == torch.bfloat16
    assert torch.get_autocast_dtype("cpu") == before


def test_a_failed_epoch_leaves_the_process_as_it_was(path, monkeypatch):
    def fail(self, interaction):
        raise KeyError("in the middle of an epoch")

    monkeypatch.setattr(CpRecNextItNet, "calculate_loss", fail)
    with pytest.raises(KeyError, match="in the middle of an epoch"):
        run(path, train_matmul_precision="medium")
    assert torch.get_float32_matmul_precision() == "highest"


def test_unknown_precision_is_refused(path):
    with pytest.raises(ConfigError, match="train_matmul_precision.*half.*highest"):
        run(path, train_matmul_precision="half")
