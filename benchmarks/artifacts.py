"""Size and latency of exported files beside torch and public tools, on catalogues of any size.

    python -m benchmarks.artifacts --items=10000,100000 --dims=64,128 -o artifacts.json

One thread, untrained SASRec models (two layers, fifty items of history): neither bytes nor
milliseconds depend on the weights.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.provenance import provenance
from recbole_compress.artifact import checksum
from recbole_compress.artifact.measure import measured
from recbole_compress.config import Config
from recbole_compress.data.catalogue import Catalogue
from recbole_compress.export.integers import quantized_copy, read_numbers_of
from recbole_compress.export.writing import export_model
from recbole_compress.files import replacing

LENGTH, K, SEED = 50, 10, 2020
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
}


def made(name: str, n_items: int, dim: int, settings: dict[str, Any]) -> Any:
    width = {"hidden_size": dim} if name == "SASRec" else {"embedding_size": dim}
    given = {**SASREC, "inner_size": 4 * dim, **width, **settings}
    if name == "SASRec":
        given["train_neg_sample_args"] = None
    config = Config(name, "none", config_dict=given)
    torch.manual_seed(SEED)
    return config.model_class(config, Catalogue(config, n_items + 1, 2)).eval()


def requests(n_items: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(SEED)
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
def torch_latency(model: Any, n_items: int) -> list[dict[str, Any]]:
    item_seq, length = (torch.from_numpy(array) for array in requests(n_items))

    def asked(batch: int) -> Callable[[int], Any]:
        def answer(number: int) -> Any:
            rows = (torch.arange(batch) + number * batch) % len(item_seq)
            asked_for = {model.ITEM_SEQ: item_seq[rows], model.ITEM_SEQ_LEN: length[rows]}
            scores = model.full_sort_predict(asked_for)
            scores[:, 0] = -torch.inf
            return scores.topk(K)

        return answer

    return [timed(asked(batch), batch) for batch in (1, 32)]


def torch_bytes(model: Any, folder: str) -> int:
    path = os.path.join(folder, "model.pth")
    torch.save(model.state_dict(), path)
    return os.path.getsize(path)


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


def rows_of(n_items: int, dim: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    def add(name: str, size: int, latency: list[dict[str, Any]], **more: Any) -> None:
        row = {"items": n_items, "dim": dim, "name": name, "bytes": size, "latency_ms": latency}
        rows.append({**row, **more})
        print(
            f"{n_items:>9,} {dim:>4} {name:<18} {size:>13,} {latency[0]['p50']:9.3f} ms", flush=True
        )

    item_seq, length = requests(n_items)
    with tempfile.TemporaryDirectory() as folder:
        stock = made("SASRec", n_items, dim, {})
        add("torch_fp32", torch_bytes(stock, folder), torch_latency(stock, n_items))
        dynamic = torch.ao.quantization.quantize_dynamic(stock, {torch.nn.Linear}, torch.qint8)
        add("torch_dynamic_int8", torch_bytes(dynamic, folder), torch_latency(dynamic, n_items))
        for name, (model_name, settings, table_bits, weight_bits) in OURS.items():
            model, quantized = made(model_name, n_items, dim, settings), None
            if (table_bits, weight_bits) != (32, 32):
                quantized = quantized_copy(model, table_bits, weight_bits)
                read_numbers_of(quantized, model)
            path = os.path.join(folder, f"{name}.onnx")
            done = export_model(model, path, quantized=quantized)
            found = measured(path, item_seq, length, K)
            add(
                name,
                done.size_bytes,
                found["latency_ms"],
                resident_bytes=found["resident_bytes"],
                deviation=done.deviation._asdict(),
            )
            del model, quantized
        path = os.path.join(folder, "public.onnx")
        public_route(os.path.join(folder, "onnx_fp32.onnx"), path)
        found = measured(path, item_seq, length, K)
        resident = found["resident_bytes"]
        size = os.path.getsize(path)
        add("public_4_bit", size, found["latency_ms"], resident_bytes=resident)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", default="10000,100000,1000000")
    parser.add_argument("--dims", default="64,128")
    parser.add_argument("-o", "--output", default="artifacts.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        row
        for n_items in map(int, given.items.split(","))
        for dim in map(int, given.dims.split(","))
        for row in rows_of(n_items, dim)
    ]
    with replacing(given.output) as file:
        json.dump({"seed": SEED, "rows": rows, "provenance": provenance()}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
