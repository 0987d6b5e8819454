"""How a matrix lies in the file, and which operators read it: plain numbers or packed integers.

A matrix that is both looked up in and multiplied with is stored once; both operators read the same
bytes.
"""

from __future__ import annotations

import abc
from typing import NamedTuple

import numpy as np
from torch import Tensor

from recbole_compress.export.graph import FLOAT, MICROSOFT, Graph

__all__ = ["Integers", "Matrix", "Packed", "codes_of", "packed", "stored_matrix", "unpacked"]

# Products of 8-bit activations with the stored integers, in 32-bit integers.
_INTEGER_PRODUCTS = 4
_SMALLEST_BLOCK, _LARGEST_BLOCK = 16, 256
_KERNEL_BITS = (2, 4, 8)


class Integers(NamedTuple):
    """A matrix as integers: ``(codes - zero_points) * scales``, group by group along a row.

    Attributes:
        codes: uint8 ``(rows, columns)``.
        scales: Floating, ``(rows, groups)``; every group is ``columns / groups`` long.
        zero_points: uint8 as ``scales``, or None for ``2 ** (bits - 1)``.
        bits: 1 .. 8.
    """

    codes: np.ndarray
    scales: np.ndarray
    zero_points: np.ndarray | None
    bits: int

    def dequantized(self) -> np.ndarray:
        """The numbers, float32 ``(rows, columns)``."""
        rows, columns = self.codes.shape
        groups = self.scales.shape[1]
        centred = self.codes.reshape(rows, groups, columns // groups).astype(np.float32)
        centred -= self._zero_points().astype(np.float32)[:, :, None]
        return (centred * self.scales.astype(np.float32)[:, :, None]).reshape(rows, columns)

    def _zero_points(self) -> np.ndarray:
        if self.zero_points is not None:
            return self.zero_points
        return np.full(self.scales.shape, 2 ** (self.bits - 1), np.uint8)

    def take_rows(self, rows: np.ndarray) -> Integers:
        points = None if self.zero_points is None else self.zero_points[rows]
        return Integers(self.codes[rows], self.scales[rows], points, self.bits)


class Packed(NamedTuple):
    """Integers as the packed operators want them.

    Attributes:
        blocks: uint8 ``(rows, n_blocks, block_size * bits / 8)``.
        scales: ``(rows, n_blocks)``.
        zero_points: uint8 ``(rows, ceil(n_blocks * bits / 8))``, None for the operators' default.
        bits: 2, 4 or 8.
        block_size: Numbers per scale, a power of 2, 16 .. 256.
        columns: Numbers in a row; what the last block has beyond is filled up.
    """

    blocks: np.ndarray
    scales: np.ndarray
    zero_points: np.ndarray | None
    bits: int
    block_size: int
    columns: int

    @property
    def nbytes(self) -> int:
        points = 0 if self.zero_points is None else self.zero_points.nbytes
        return self.blocks.nbytes + self.scales.nbytes + points


def _bytes_of(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes along the last axis as bytes, the lowest bits of a byte first."""
    per_byte = 8 // bits
    missing = -codes.shape[-1] % per_byte
    padded = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, missing)])
    parts = padded.reshape(*codes.shape[:-1], -1, per_byte)
    out = np.zeros(parts.shape[:-1], np.uint8)
    for place in range(per_byte):
        out |= parts[..., place] << np.uint8(place * bits)
    return out


def packed(integers: Integers) -> Packed | None:
    """The same integers for the packed operators; None where those cannot read such groups.

    Bits without an operator of their own travel in the next wider one, with the zero point they
    had.
    """
    rows, columns = integers.codes.shape
    groups = integers.scales.shape[1]
    bits = next(wide for wide in _KERNEL_BITS if integers.bits <= wide)
    group = columns // groups
    if groups == 1:
        # One block, or several with the same scale: whichever fills up less.
        block = _SMALLEST_BLOCK
        while block < min(columns, _LARGEST_BLOCK) and columns % (2 * block) == 0:
            block *= 2
        whole = max(_SMALLEST_BLOCK, 1 << (columns - 1).bit_length())
        several = -(-columns // block)
        fits = whole <= _LARGEST_BLOCK
        if fits and whole * bits // 8 + 4 <= several * (block * bits // 8 + 4):
            block = whole
    elif group >= _SMALLEST_BLOCK and group & (group - 1) == 0:
        block = min(group, _LARGEST_BLOCK)
    else:
        return None
    n_blocks = -(-columns // block)
    repeats = n_blocks // groups
    points = integers._zero_points().repeat(repeats, axis=1)
    codes = np.pad(integers.codes, ((0, 0), (0, n_blocks * block - columns)))
    return Packed(
        _bytes_of(codes.reshape(rows, n_blocks, block), bits),
        integers.scales.repeat(repeats, axis=1),
        None if (points == 2 ** (bits - 1)).all() else _bytes_of(points, bits),
        bits,
        block,
        columns,
    )


class Matrix(abc.ABC):
    """A stored matrix ``(rows, columns)``."""

    def __init__(self, graph: Graph, n_rows: int, n_columns: int) -> None:
        self.n_rows = n_rows
        self.n_columns = n_columns

    @abc.abstractmethod
    def rows(self, graph: Graph, ids: str) -> str:
        """Rows of int64 ``ids`` of any shape, one axis more, float32."""

    @abc.abstractmethod
    def product(self, graph: Graph, x: str, bias: str = "") -> str:
        """Products with all rows: ``(B, columns) -> (B, rows)``, plus ``bias`` ``(rows,)``."""


class PlainMatrix(Matrix):
    """Floating numbers; half precision is widened when the file is loaded."""

    def __init__(self, graph: Graph, numbers: np.ndarray) -> None:
        super().__init__(graph, *numbers.shape)
        self.half = numbers.dtype == np.float16
        self.value = graph.stored(numbers, "table")

    def rows(self, graph: Graph, ids: str) -> str:
        rows = graph.op("Gather", self.value, ids, axis=0)
        return graph.cast(rows, FLOAT) if self.half else rows

    def product(self, graph: Graph, x: str, bias: str = "") -> str:
        matrix = graph.cast(self.value, FLOAT) if self.half else self.value
        return graph.op("Gemm", x, matrix, *([bias] if bias else []), transB=1)


class IntegerMatrix(Matrix):
    """Packed integers, read where they lie by a lookup and by an integer product."""

    def __init__(self, graph: Graph, content: Packed) -> None:
        super().__init__(graph, len(content.blocks), content.columns)
        self.content = content
        self.blocks = graph.stored(content.blocks, "integers")
        self.scales = graph.stored(content.scales, "scales")
        points = content.zero_points
        self.zero_points = "" if points is None else graph.stored(points, "zero_points")

    def _scales(self, graph: Graph) -> str:
        half = self.content.scales.dtype == np.float16
        return graph.cast(self.scales, FLOAT) if half else self.scales

    def rows(self, graph: Graph, ids: str) -> str:
        content = self.content
        n_rows, n_blocks, n_bytes = content.blocks.shape
        flat = graph.reshape(self.blocks, n_rows, n_blocks * n_bytes)
        points = [self.zero_points] if self.zero_points else []
        rows = graph.op(
            "GatherBlockQuantized",
            flat,
            ids,
            self._scales(graph),
            *points,
            domain=MICROSOFT,
            bits=content.bits,
            block_size=content.block_size,
            gather_axis=0,
            quantize_axis=1,
        )
        if n_blocks * content.block_size == content.columns:
            return rows
        return graph.slice(rows, 0, content.columns, -1)

    def product(self, graph: Graph, x: str, bias: str = "") -> str:
        content = self.content
        rest = [self.zero_points, "", bias] if bias else [self.zero_points]
        return graph.op(
            "MatMulNBits",
            x,
            self.blocks,
            self._scales(graph),
            *(rest if any(rest) else []),
            domain=MICROSOFT,
            K=content.columns,
            N=len(content.blocks),
            bits=content.bits,
            block_size=content.block_size,
            accuracy_level=_INTEGER_PRODUCTS,
        )


def stored_matrix(graph: Graph, numbers: np.ndarray, integers: Integers | None) -> Matrix:
    """Put a matrix into the file, as integers where there are any and they take less room.

    Args:
        numbers: float32 or float16 ``(rows, columns)``; what the integers stand for, if any.
        integers: The same matrix as integers.
    """
    content = None if integers is None else packed(integers)
    if content is None or content.nbytes >= numbers.nbytes:
        return PlainMatrix(graph, numbers)
    return IntegerMatrix(graph, content)


def codes_of(graph: Graph, integers: Integers) -> str:
    """The codes, uint8 ``(rows, columns)``, unpacked once when the file is loaded."""
    rows, columns = integers.codes.shape
    bits = next(wide for wide in _KERNEL_BITS if integers.bits <= wide)
    per_byte = 8 // bits
    value = graph.stored(_bytes_of(integers.codes.reshape(-1), bits), "integers")
    if per_byte > 1:
        shifts = graph.constant([place * bits for place in range(per_byte)], np.uint8)
        value = graph.op("Unsqueeze", value, graph.integers(1))
        value = graph.op("BitShift", value, shifts, direction="RIGHT")
        value = graph.op("BitwiseAnd", value, graph.constant([2**bits - 1], np.uint8))
        value = graph.slice(graph.reshape(value, -1), 0, rows * columns, 0)
    return graph.reshape(value, rows, columns)


def unpacked(graph: Graph, integers: Integers, codes: str = "") -> str:
    """The matrix in float32, unpacked once when the file is loaded; only the integers are stored.

    For operators that read no integers. Exactly ``integers.dequantized()``.

    Args:
        codes: What :func:`codes_of` gave, where it was asked already.
    """
    rows, columns = integers.codes.shape
    groups = integers.scales.shape[1]
    value = codes or codes_of(graph, integers)
    value = graph.reshape(graph.cast(value, FLOAT), rows, groups, columns // groups)
    points = integers._zero_points()
    if len(np.unique(points)) == 1:
        offset = graph.constant(points.flat[0], np.float32)
    else:
        offset = graph.cast(graph.stored(points[:, :, None], "zero_points"), FLOAT)
    scales = graph.stored(integers.scales[:, :, None], "scales")
    if integers.scales.dtype == np.float16:
        scales = graph.cast(scales, FLOAT)
    value = graph.op("Mul", graph.op("Sub", value, offset), scales)
    return graph.reshape(value, rows, columns)


def as_array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()
