"""Integers of 1 to 8 bits in a file: in as few bytes as they take, widened when it is loaded.

ONNX Runtime's operators read integers of 2, 4 or 8 bits. Codes of other widths lie in the file as
one array for each power of two in the width (5 bits are 4 and 1), and constant folding makes the
operators' form of them, once.
"""

from __future__ import annotations

import numpy as np
import torch

from recbole_compress.export.graph import Graph
from recbole_compress.functional.bit_packing import pack, packed_size

__all__ = ["stored_codes"]

_PARTS = (8, 4, 2, 1)


def stored_codes(graph: Graph, codes: np.ndarray, bits: int, wide: int) -> str:
    """Put codes into the file; the value is what ``pack(codes, wide)`` would hold.

    Args:
        codes: uint8 ``(rows, columns)``, below ``2 ** bits``.
        bits: 1 .. 8, what a code takes in the file.
        wide: 2, 4 or 8, at least ``bits``: what it takes in the value.

    Returns:
        uint8 ``(rows, packed_size(columns, wide))``, the lowest bits of a byte first.

    Example:
        >>> graph = Graph()
        >>> value = stored_codes(graph, np.array([[5, 1, 2, 7, 6, 3, 4, 4]], np.uint8), 3, wide=4)
        >>> [list(array.dims) for array in graph.initializers.values() if array.name[:5] == "codes"]
        [[1, 2], [1, 1]]
    """
    rows, columns = codes.shape
    total, shift = "", 0
    for part in _PARTS:
        if not bits & part:
            continue
        numbers = torch.from_numpy(codes >> np.uint8(shift) & np.uint8(2**part - 1))
        value = graph.stored(pack(numbers, part).numpy(), "codes")
        n_bytes = packed_size(columns, part)
        for narrow in reversed(_PARTS):
            if part <= narrow < wide:
                value = _widened(graph, value, narrow, rows)
                n_bytes *= 2
        if n_bytes > packed_size(columns, wide):
            value = graph.slice(value, 0, packed_size(columns, wide), 1)
        if shift:
            value = graph.op("BitShift", value, _uint8(graph, shift), direction="LEFT")
        total = graph.op("BitwiseOr", total, value) if total else value
        shift += part
    return total


def _widened(graph: Graph, value: str, bits: int, rows: int) -> str:
    """Codes of 1, 2 or 4 bits in twice as many: bytes ``(rows, n)`` to ``(rows, 2 * n)``."""
    halves = graph.op("Unsqueeze", value, graph.integers(2))
    halves = graph.op("BitShift", halves, _uint8(graph, [0, 4]), direction="RIGHT")
    value = graph.reshape(graph.op("BitwiseAnd", halves, _uint8(graph, [0x0F])), rows, -1)
    # Half a byte now lies in a whole one: its codes move apart, by pairs and then one by one.
    for apart, mask in ((2, 0x33), (1, 0x55)):
        if bits <= apart:
            moved = graph.op("BitShift", value, _uint8(graph, apart), direction="LEFT")
            both = graph.op("BitwiseOr", value, moved)
            value = graph.op("BitwiseAnd", both, _uint8(graph, mask))
    return value


def _uint8(graph: Graph, value: int | list[int]) -> str:
    return graph.constant(value, np.uint8)
