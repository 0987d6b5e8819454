"""Integers in a file: in as few bytes as they take, and read as the numbers they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from recbole_compress.artifact.session import open_session
from recbole_compress.export.graph import Graph
from recbole_compress.export.storage import Integers, packed, stored_matrix, unpacked

N_ROWS = 7
# In bytes: so integers always take less room.
WIDER_THAN_ANY = np.zeros((N_ROWS, 1024), np.complex256)
SHAPES = [
    (16, 1),
    (20, 1),
    (4, 1),
    (64, 2),
    (96, 1),
    (96, 6),
    (1, 1),
    (512, 1),
    (1024, 2),
    (300, 1),
]


def integers(bits, columns, groups, points=None, dtype=np.float32):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**bits, (N_ROWS, columns)).astype(np.uint8)
    scales = rng.uniform(0.5, 2, (N_ROWS, groups)).astype(dtype)
    if points == "by row":
        points = rng.integers(0, 2**bits, (N_ROWS, groups)).astype(np.uint8)
    return Integers(codes, scales, points, bits)


def answers(graph, x, *outputs):
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    found = [helper.make_tensor_value_info(out, TensorProto.FLOAT, None) for out in outputs]
    model = graph.model([given], found)
    held = sum(
        np.prod(array.dims)
        * {TensorProto.UINT8: 1, TensorProto.FLOAT16: 2, TensorProto.FLOAT: 4}[array.data_type]
        for array in model.graph.initializer
        if array.data_type != TensorProto.INT64
    )
    return open_session(model.SerializeToString(), 1, "m.onnx").run(None, {"x": x}), held


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("columns, groups", SHAPES)
@pytest.mark.parametrize("points", [None, "by row"])
def test_lookup_and_product_read_the_numbers(bits, columns, groups, points) -> None:
    content = integers(bits, columns, groups, points)
    numbers = content.dequantized()
    graph = Graph()
    matrix = stored_matrix(graph, WIDER_THAN_ANY[:, :columns], content)
    x = np.random.default_rng(1).integers(-127, 128, (3, columns)).astype(np.float32)
    rows = matrix.rows(graph, graph.integers(*range(N_ROWS)))
    (looked_up, product), held = answers(graph, x, rows, matrix.product(graph, "x"))
    assert np.allclose(looked_up, numbers, rtol=1e-6)
    # Activations are rounded to 8 bits.
    largest = np.abs(x).sum(1, keepdims=True) * np.abs(numbers).max()
    assert (np.abs(product - x @ numbers.T) <= largest * 0.01).all()
    per_row = -(-columns * bits // 8) if bits in (1, 2, 4, 8) else columns * bits / 8 + 3
    point_bytes = 0 if points is None else N_ROWS * (groups + columns // 16 + 1)
    assert held <= N_ROWS * (per_row + 4 * groups) + point_bytes + 20


@pytest.mark.parametrize("columns", [4, 64])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_one_scale_for_all_rows_is_held_once(columns, dtype) -> None:
    content = integers(4, columns, 1, dtype=dtype)
    content = content._replace(scales=np.full_like(content.scales, 0.75))
    assert content.nbytes == N_ROWS * columns // 2 + content.scales.itemsize
    graph = Graph()
    matrix = stored_matrix(graph, WIDER_THAN_ANY[:, :columns], content)
    rows = matrix.rows(graph, graph.integers(*range(N_ROWS)))
    product = matrix.product(graph, "x")
    x = np.ones((1, columns), np.float32)
    (looked_up, found), held = answers(graph, x, rows, product)
    assert np.allclose(looked_up, content.dequantized(), rtol=1e-6)
    assert np.allclose(found, content.dequantized().sum(1), rtol=0.01, atol=0.1)
    assert held <= content.nbytes + 20


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_unpacked_numbers_are_the_integers(bits, dtype) -> None:
    content = integers(bits, 11, 1, dtype=dtype)
    graph = Graph()
    (numbers,), _ = answers(graph, np.zeros((1, 1), np.float32), unpacked(graph, content))
    assert np.array_equal(numbers, content.dequantized())


def test_two_bits_in_short_blocks_go_to_the_operator_of_four() -> None:
    # ONNX Runtime has no fast product of two bits with blocks of 16.
    for columns, groups, bits in ((96, 6, 4), (8, 1, 4), (96, 3, 2), (300, 1, 2)):
        content = packed(integers(2, columns, groups))
        assert content is not None
        assert content.bits == bits


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_rows_of_few_numbers_are_in_no_blocks(bits) -> None:
    assert packed(integers(bits, 4, 1)) is None
    assert packed(integers(bits, 5, 1)) is not None
