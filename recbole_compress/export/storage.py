"""How a matrix lies in the file, and which operators read it: plain numbers or packed integers.

A matrix that is both looked up in and multiplied with is stored once; both operators read the same
bytes.
"""

from __future__ import annotations

import abc
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recbole_compress.export.graph import FLOAT, MICROSOFT, Graph
from recbole_compress.export.stored_codes import stored_codes
from recbole_compress.functional.bit_packing import pack, packed_size

__all__ = ["Integers", "Matrix", "Packed", "codes_of", "packed", "stored_matrix", "unpacked"]

# Products of 8-bit activations with the stored integers, in 32-bit integers.
_INTEGER_PRODUCTS = 4
_SMALLEST_BLOCK, _LARGEST_BLOCK = 16, 256
# Of rows this narrow most of a block would be filling: as floating numbers they take as much
# memory, and a request to 45,000 of them three quarters of the time.
_NARROW = 4
_OPERATORS_BITS = (2, 4, 8)
# Products of 2-bit integers with smaller blocks take ONNX Runtime 30 to 100 times as long.
_SMALLEST_BLOCK_OF_2_BITS = 32


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
        centred -= self.all_zero_points().astype(np.float32)[:, :, None]
        return (centred * self.scales.astype(np.float32)[:, :, None]).reshape(rows, columns)

    def all_zero_points(self) -> np.ndarray:
        """One for every scale, the usual one too."""
        if self.zero_points is not None:
            return self.zero_points
        return np.full(self.scales.shape, 2 ** (self.bits - 1), np.uint8)

    @property
    def nbytes(self) -> int:
        """What the file holds."""
        rows, columns = self.codes.shape
        points = 0 if self.zero_points is None else _distinct(self.zero_points).nbytes
        return rows * packed_size(columns, self.bits) + _distinct(self.scales).nbytes + points

    def take_rows(self, rows: np.ndarray) -> Integers:
        points = None if self.zero_points is None else self.zero_points[rows]
        return Integers(self.codes[rows], self.scales[rows], points, self.bits)


def _distinct(values: np.ndarray) -> np.ndarray:
    """One row for all where all are alike, as of a grid for the whole tensor."""
    return values[:1] if (values == values[:1]).all() else values


class Packed(NamedTuple):
    """Integers in blocks, as the packed operators want them; rows are filled up to whole blocks.

    Attributes:
        integers: What they are.
        bits: 2, 4 or 8, what an integer takes for the operators.
        block_size: Numbers per block, a power of 2, 16 .. 256. No block reaches over two groups.
    """

    integers: Integers
    bits: int
    block_size: int

    @property
    def columns(self) -> int:
        return self.integers.codes.shape[1]

    @property
    def n_blocks(self) -> int:
        return -(-self.columns // self.block_size)

    def zero_points(self) -> np.ndarray | None:
        """uint8 ``(rows or 1, packed_size(n_blocks, bits))``, None for the operators' default."""
        points = self.integers.all_zero_points()
        if (points == 2 ** (self.bits - 1)).all():
            return None
        points = _distinct(points)
        of_blocks = points.repeat(self.n_blocks // points.shape[1], axis=1)
        return pack(torch.from_numpy(of_blocks), self.bits).numpy()


def packed(integers: Integers) -> Packed | None:
    """Blocks for the packed operators; None where those cannot read such groups, or gain nothing.

    Bits without an operator of their own, or with a slow one, are read by that of the next wider
    one, with the zero point they had.
    """
    columns, groups = integers.codes.shape[1], integers.scales.shape[1]
    if columns <= _NARROW:
        return None
    bits = next(wide for wide in _OPERATORS_BITS if integers.bits <= wide)
    group = columns // groups
    if groups == 1:
        # One block, or several with the same scale: whichever takes less memory.
        block = _SMALLEST_BLOCK
        if bits == 2 and columns > _SMALLEST_BLOCK:
            block = _SMALLEST_BLOCK_OF_2_BITS
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
    if bits == 2 and block < _SMALLEST_BLOCK_OF_2_BITS:
        bits = 4
    return Packed(integers, bits, block)


class Matrix(abc.ABC):
    """A stored matrix ``(rows, columns)``."""

    def __init__(self, n_rows: int, n_columns: int) -> None:
        self.n_rows = n_rows
        self.n_columns = n_columns

    @abc.abstractmethod
    def rows(self, graph: Graph, ids: str) -> str:
        """Rows of int64 ``ids`` of any shape, one axis more, float32."""

    @abc.abstractmethod
    def product(self, graph: Graph, x: str, bias: str = "") -> str:
        """Products with all rows: ``(B, columns) -> (B, rows)``, plus ``bias`` ``(rows,)``."""


class PlainMatrix(Matrix):
    """Floating numbers in a value; half precision is widened when the file is loaded."""

    def __init__(self, value: str, n_rows: int, n_columns: int, half: bool = False) -> None:
        super().__init__(n_rows, n_columns)
        self.half = half
        self.value = value

    def rows(self, graph: Graph, ids: str) -> str:
        rows = graph.op("Gather", self.value, ids, axis=0)
        return graph.cast(rows, FLOAT) if self.half else rows

    def product(self, graph: Graph, x: str, bias: str = "") -> str:
        matrix = graph.cast(self.value, FLOAT) if self.half else self.value
        return graph.op("Gemm", x, matrix, *([bias] if bias else []), transB=1)


class IntegerMatrix(Matrix):
    """Packed integers, read where they lie by a lookup and by an integer product."""

    def __init__(self, graph: Graph, content: Packed) -> None:
        super().__init__(*content.integers.codes.shape)
        self.content = content
        # Blocks are made when the file is loaded: it holds nothing twice and no filling.
        self.codes = self._filled_codes(graph)
        n_bytes = content.block_size * content.bits // 8
        self.blocks = graph.reshape(self.codes, self.n_rows, content.n_blocks, n_bytes)
        self.scales = self._scales_of_blocks(graph)
        self.zero_points = self._zero_points(graph)

    def _filled_codes(self, graph: Graph) -> str:
        content, integers = self.content, self.content.integers
        codes = stored_codes(graph, integers.codes, integers.bits, content.bits)
        filled = content.n_blocks * content.block_size * content.bits // 8
        missing = filled - packed_size(content.columns, content.bits)
        return graph.op("Pad", codes, graph.integers(0, 0, 0, missing)) if missing else codes

    def _scales_of_blocks(self, graph: Graph) -> str:
        numbers = self.content.integers.scales
        distinct = _distinct(numbers)
        scales = graph.stored(distinct, "scales")
        if numbers.dtype == np.float16:
            scales = graph.cast(scales, FLOAT)
        if len(distinct) < self.n_rows:
            scales = graph.op("Expand", scales, graph.integers(*numbers.shape))
        groups, blocks = numbers.shape[1], self.content.n_blocks
        if groups == blocks:
            return scales
        shape = graph.integers(self.n_rows, groups, blocks // groups)
        scales = graph.op("Expand", graph.op("Unsqueeze", scales, graph.integers(2)), shape)
        return graph.reshape(scales, self.n_rows, blocks)

    def _zero_points(self, graph: Graph) -> str:
        numbers = self.content.zero_points()
        if numbers is None:
            return ""
        points = graph.stored(numbers, "zero_points")
        if len(numbers) == self.n_rows:
            return points
        return graph.op("Expand", points, graph.integers(self.n_rows, numbers.shape[1]))

    def rows(self, graph: Graph, ids: str) -> str:
        content = self.content
        points = [self.zero_points] if self.zero_points else []
        rows = graph.op(
            "GatherBlockQuantized",
            self.codes,
            ids,
            self.scales,
            *points,
            domain=MICROSOFT,
            bits=content.bits,
            block_size=content.block_size,
            gather_axis=0,
            quantize_axis=1,
        )
        if content.n_blocks * content.block_size == content.columns:
            return rows
        return graph.slice(rows, 0, content.columns, -1)

    def product(self, graph: Graph, x: str, bias: str = "") -> str:
        content = self.content
        rest = [self.zero_points, "", bias] if bias else [self.zero_points]
        return graph.op(
            "MatMulNBits",
            x,
            self.blocks,
            self.scales,
            *(rest if any(rest) else []),
            domain=MICROSOFT,
            K=content.columns,
            N=self.n_rows,
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
    n_rows, n_columns = numbers.shape
    if integers is None or integers.nbytes >= numbers.nbytes:
        half = numbers.dtype == np.float16
        return PlainMatrix(graph.stored(numbers, "table"), n_rows, n_columns, half)
    content = packed(integers)
    if content is None:  # small in the file
        return PlainMatrix(unpacked(graph, integers), n_rows, n_columns)
    return IntegerMatrix(graph, content)


def codes_of(graph: Graph, integers: Integers) -> str:
    """The codes, uint8 ``(rows, columns)``, unpacked once when the file is loaded."""
    rows, columns = integers.codes.shape
    value = stored_codes(graph, integers.codes.reshape(1, -1), integers.bits, 8)
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
    points = integers.all_zero_points()
    if len(np.unique(points)) == 1:
        offset = graph.constant(points.flat[0], np.float32)
    else:
        offset = graph.cast(graph.stored(_distinct(points)[:, :, None], "zero_points"), FLOAT)
    scales = graph.stored(_distinct(integers.scales)[:, :, None], "scales")
    if integers.scales.dtype == np.float16:
        scales = graph.cast(scales, FLOAT)
    value = graph.op("Mul", graph.op("Sub", value, offset), scales)
    return graph.reshape(value, rows, columns)


def as_array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()
