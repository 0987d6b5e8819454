"""Whole runs on a real GPU, where there is one: they end, and the CPU finds the same afterwards."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recbole_compress.quick_start.quick_start import run_recbole_compress
from tests.conftest import SEQUENCES, write_interactions
from tests.distributed.jobs import SETTINGS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() == 0, reason="needs a CUDA device"),
]

OURS = {"embedding_size": 8, "dilations": [1]}
SELF_ATTENTION = {"embedding_size": 8, "inner_size": 8}
TENSOR_TRAIN = {**SELF_ATTENTION, "tt_ranks": 4}
STOCK = {"hidden_size": 8, "inner_size": 8}
DISTILLED = {
    "recipe": "distillation",
    "kd_contrastive_weight": 0.2,
    "kd_predictive_weight": 0.001,
}
SHORT_FLOATS = {"enable_amp": True, "amp_dtype": "bfloat16", "train_matmul_precision": "medium"}
RUNS = {
    "CpRecNextItNet": ("CpRecNextItNet", OURS),
    "untied": ("CpRecNextItNet", {**OURS, "item_embedding": "dense", "item_head": "untied"}),
    "tied two-level": ("CpRecNextItNet", {**OURS, "item_head": "tied_two_level"}),
    "short floats": ("CpRecNextItNet", {**OURS, **SHORT_FLOATS}),
    "pointer": ("CpRecNextItNet", {**OURS, "repeats": "pointer"}),
    "rows": ("CpRecNextItNet", {**OURS, "training_targets": "last"}),
    "product codes": (
        "CpRecNextItNet",
        {**OURS, "item_embedding": "product_quantized", "item_head": "tied", "pq_codes": 16},
    ),
    "CpRecGRU4Rec": ("CpRecGRU4Rec", {"embedding_size": 8, "hidden_size": 8}),
    "TTSASRec": ("TTSASRec", TENSOR_TRAIN),
    "distilled": ("TTSASRec", {**TENSOR_TRAIN, **DISTILLED}),
    "SASRec": ("SASRec", STOCK),
}


def run(model, path, **settings):
    return run_recbole_compress(
        model, "tiny", config_dict={**SETTINGS, "data_path": path, **settings}
    )


@pytest.mark.parametrize("name", RUNS)
def test_a_run_ends_and_the_cpu_finds_the_same(in_tmp, name):
    path = write_interactions(in_tmp, "tiny", SEQUENCES)
    model, settings = RUNS[name]
    result = run(model, path, **settings)
    card = result["card"]
    assert card["environment"]["gpu"] and card["training"]["peak_gpu_bytes"] > 0
    on_cpu = run(model, path, **settings, use_gpu=False, resume=result["checkpoint"])
    for metric, value in result["test_result"].items():
        assert math.isclose(on_cpu["test_result"][metric], value, abs_tol=0.05), metric


@pytest.mark.parametrize("model", ["CpRecNextItNet", "TTSASRec", "GRU4Rec", "BERT4Rec"])
@pytest.mark.parametrize("recipe", ["ptq", "self_sample", "adversarial", "qat"])
def test_a_model_is_quantized(in_tmp, model, recipe):
    path = write_interactions(in_tmp, "tiny", SEQUENCES)
    sizes = {"CpRecNextItNet": OURS, "TTSASRec": TENSOR_TRAIN, "BERT4Rec": STOCK}
    done = run(
        f"DFQ{model}",
        path,
        **sizes.get(model, {"embedding_size": 8, "hidden_size": 8}),
        quantization_recipe=recipe,
        weight_bits=4,
        table_bits=4,
        activation_bits=8,
        df_epochs=1,
        df_sequences=32,
        df_valid_sequences=16,
        df_student_steps=1,
    )
    assert done["test_result"] and done["card"]["choices"]["table_bits"] == 4


def test_two_processes_share_a_training_through_nccl(in_tmp):
    """As on two machines with a GPU each: where there is one GPU, nccl must not know that."""
    path = write_interactions(in_tmp, "tiny", SEQUENCES)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    settings = {
        **{key: value for key, value in SETTINGS.items() if not isinstance(value, dict)},
        **OURS,
        "embedding_dropout_prob": 0.0,
        "data_path": path,
    }
    command = [sys.executable, "-m", "recbole_compress.quick_start.command_line"]
    command += ["--model=CpRecNextItNet", "--dataset=tiny"]
    command += [f"--{key}={value}" for key, value in settings.items()]
    shared = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    shared |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "NCCL_SOCKET_IFNAME": "lo"}
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    processes = [
        subprocess.Popen(
            [*command, f"--card_path=card{rank}.json"],
            env={
                **os.environ,
                **shared,
                "PYTHONPATH": paths,
                "RANK": str(rank),
                "NCCL_HOSTID": str(rank),
            },
        )
        for rank in (0, 1)
    ]
    assert [process.wait(300) for process in processes] == [0, 0]
    card = json.loads(Path("card0.json").read_text())
    assert card["training"]["processes"] == 2 and card["environment"]["gpu"]

    alone = run("CpRecNextItNet", path, **OURS, embedding_dropout_prob=0.0)
    again = run("CpRecNextItNet", path, resume=card["files"]["checkpoint"])
    for split, metrics in card["metrics"].items():
        for metric, value in metrics.items():
            for other in (alone, again):
                found = other["card"]["metrics"][split][metric]
                assert math.isclose(found, value, abs_tol=0.05), (split, metric)
