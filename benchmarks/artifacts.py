"""Size and latency of exported files beside torch and public tools, on catalogues of any size.

    python -m benchmarks.artifacts
    python -m benchmarks.artifacts --items 10000 --dims 64 --only variant=w4

One thread, untrained SASRec models (two layers, fifty items of history): bytes do not depend on the
weights, and milliseconds only where a two-level head opens a tail or leaves it. Untrained ones open
none; ``..._all_tails`` are made to open all for every request, the most that they can cost. Rows
that ``docs/results/artifacts.json`` holds are not measured again.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.results_file import common_parser, measure_all
from recbole_compress.artifact import checksum
from recbole_compress.artifact.measure import measured, resident_bytes
from recbole_compress.config import Config
from recbole_compress.data.catalogue import Catalogue
from recbole_compress.export.integers import quantized_copy, read_numbers_of
from recbole_compress.export.writing import export_model
from recbole_compress.quantization import QuantizationSpec

LENGTH, K = 50, 10
SASREC = {"n_layers": 2, "n_heads": 2, "MAX_ITEM_LIST_LENGTH": LENGTH, "use_gpu": False}
BLOCKS = {"item_embedding": "blockwise", "item_block_cutoffs": [0.05, 0.25]}
TRAIN = {"item_embedding": "tensor_train", "item_head": "tied", "tt_ranks": 32}
# name -> model, its settings, table bits, weight bits
OURS: dict[str, tuple[str, dict[str, Any], int, int]] = {
    "onnx_fp32": ("SASRec", {}, 32, 32),
    "w8": ("SASRec", {}, 8, 8),
    "w4": ("SASRec", {}, 4, 4),
    "w2": ("SASRec", {}, 2, 4),
    "two_level": ("CpRecSASRec", {**BLOCKS, "item_head": "tied_two_level"}, 32, 32),
    "two_level_w4": ("CpRecSASRec", {**BLOCKS, "item_head": "tied_two_level"}, 4, 4),
    "tensor_train": ("CpRecSASRec", TRAIN, 32, 32),
    "tensor_train_w8": ("CpRecSASRec", TRAIN, 8, 8),
    "tensor_train_w4": ("CpRecSASRec", TRAIN, 4, 4),
}
# What is made to open its tails -> what it is otherwise.
OPENED = {"two_level_all_tails": "two_level", "two_level_w4_all_tails": "two_level_w4"}
TORCH = ("torch_fp32", "torch_dynamic_int8")
PUBLIC = "public_4_bit"
VARIANTS = (*TORCH, *OURS, *OPENED, PUBLIC)


def made(name: str, n_items: int, dim: int, settings: dict[str, Any], seed: int) -> Any:
    width = {"hidden_size": dim} if name == "SASRec" else {"embedding_size": dim}
    given = {**SASREC, "inner_size": 4 * dim, **width, **settings}
    if name == "SASRec":
        given["train_neg_sample_args"] = None
    config = Config(name, "none", config_dict=given)
    torch.manual_seed(seed)
    return config.model_class(config, Catalogue(config, n_items + 1, 2)).eval()


@torch.no_grad()
def open_all_tails(model: Any) -> None:
    """Whatever is asked, a tail is more likely as a whole than any popular item."""
    # The numbers of every state then sum to its width.
    model.backbone.layers[-1].inner_norm.bias.fill_(1.0)
    model.item_head.tokens.fill_(1.0)


def requests(n_items: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(1, n_items + 1, (64, LENGTH)), np.full(64, LENGTH)


def timed(answer: Callable[[int], Any], batch: int, budget: float = 5.0) -> dict[str, Any]:
    for number in range(3):
        answer(number)
    times, end = [], time.perf_counter() + budget
    while len(times) < 100 and time.perf_counter() < end:
        start = time.perf_counter()
        answer(len(times))
        times.append((time.perf_counter() - start) * 1e3)
    p50, p95 = np.percentile(times, [50, 95])
    return {"batch_size": batch, "k": K, "p50": float(p50), "p95": float(p95), "runtime": "torch"}


@torch.no_grad()
def torch_latency(model: Any, n_items: int, seed: int) -> list[dict[str, Any]]:
    item_seq, length = (torch.from_numpy(array) for array in requests(n_items, seed))

    def asked(batch: int) -> Callable[[int], Any]:
        def answer(number: int) -> Any:
            rows = (torch.arange(batch) + number * batch) % len(item_seq)
            asked_for = {model.ITEM_SEQ: item_seq[rows], model.ITEM_SEQ_LEN: length[rows]}
            scores = model.full_sort_predict(asked_for)
            scores[:, 0] = -torch.inf
            return scores.topk(K)

        return answer

    return [timed(asked(batch), batch) for batch in (1, 32)]


def torch_bytes(model: Any) -> int:
    torch.save(model.state_dict(), "model.pth")
    return os.path.getsize("model.pth")


def public_route(fp32: str, out: str) -> None:
    """What a user without this package does: the fp32 file through onnxruntime's own quantizer.

    It reads products written as ``MatMul`` only, and quantizes a table for every operator that
    reads it: so a tied table is in the file twice.
    """
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    model = onnx.load(fp32)
    tables = {tensor.name: tensor for tensor in model.graph.initializer}
    for graph in _graphs(model.graph):
        for node in graph.node:
            if node.op_type == "Gemm" and node.input[1].startswith("table"):
                table = onnx.numpy_helper.to_array(tables[node.input[1]])
                name = f"{node.input[1]}_transposed"
                if name not in tables:
                    tables[name] = onnx.numpy_helper.from_array(table.T.copy(), name)
                    model.graph.initializer.append(tables[name])
                node.op_type, node.input[1] = "MatMul", name
                del node.attribute[:]
    logging.getLogger("onnxruntime.quantization").setLevel(logging.WARNING)
    quantizer = MatMulNBitsQuantizer(
        model,
        block_size=32,
        is_symmetric=True,
        accuracy_level=4,
        bits=4,
        op_types_to_quantize=("MatMul", "Gather"),
    )
    quantizer.process()
    quantizer.model.save_model_to_file(out, False)
    checked = onnx.load(out)
    for entry in checked.metadata_props:
        if entry.key == checksum.CHECKSUM_KEY:
            entry.value = checksum.EMPTY
    onnx.save(checked, out)
    checksum.seal(out)


def _graphs(graph: Any) -> list[Any]:
    inner = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return [graph, *(deeper for one in inner for deeper in _graphs(one))]


def measure_torch(n_items: int, dim: int, variant: str, seed: int) -> dict[str, Any]:
    before = resident_bytes()
    model = made("SASRec", n_items, dim, {}, seed)
    if variant == "torch_dynamic_int8":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its successor is another package
            model = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, torch.qint8)
    latency = torch_latency(model, n_items, seed)
    resident = resident_bytes() - before
    return {
        "size_bytes": torch_bytes(model),
        "latency_ms": latency,
        "resident_bytes": resident,
    }


def measure_file(n_items: int, dim: int, variant: str, seed: int) -> dict[str, Any]:
    base = "onnx_fp32" if variant == PUBLIC else OPENED.get(variant, variant)
    name, settings, table_bits, weight_bits = OURS[base]
    model, quantized = made(name, n_items, dim, settings, seed), None
    if variant in OPENED:
        open_all_tails(model)
    if (table_bits, weight_bits) != (32, 32):
        quantized = quantized_copy(model, QuantizationSpec(weight_bits, table_bits))
        read_numbers_of(quantized, model)
    done = export_model(model, "model.onnx", quantized=quantized)
    del model, quantized
    path, deviation = done.path, {"deviation": done.deviation.largest}
    if variant == PUBLIC:
        path, deviation = "public.onnx", {}
        public_route(done.path, path)
    found = measured(path, *requests(n_items, seed), K)
    return {"size_bytes": os.path.getsize(path), **found, **deviation}


def measure(items: int, dim: int, variant: str, seed: int, threads: int) -> dict[str, Any]:
    """One row: a variant on a catalogue."""
    torch.set_num_threads(threads)
    of_torch = variant in TORCH
    return (measure_torch if of_torch else measure_file)(items, dim, variant, seed)


def main(arguments: list[str]) -> None:
    parser = common_parser("artifacts", (__doc__ or "").splitlines()[0])
    parser.add_argument("--items", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dims", nargs="+", type=int, default=[64, 128])
    options = parser.parse_args(arguments)
    if options.threads != 1:
        parser.error("files are measured on one thread; leave --threads out")
    entries = [
        {"items": items, "dim": dim, "variant": variant}
        for items in options.items
        for dim in options.dims
        for variant in VARIANTS
    ]
    measure_all("benchmarks.artifacts", entries, options)


if __name__ == "__main__":
    main(sys.argv[1:])
