"""Tensor-train tables: looking up rows, scoring against all of them, building them.

Every core is stored as ``(R_{k-1}, J_k, I_k, R_k)``: rank, column mode, row mode, rank. In that
order each step of scoring is one matrix product on the core as it lies, and a table built from its
cores comes out as ``(dim, rows)`` with no entry moved afterwards.

Row ``i`` and column ``j`` of the table are mixed-radix numbers, most significant index first::

    table[i, j] = G_1[:, j_1, i_1, :] @ ... @ G_d[:, j_d, i_d, :]
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_compress.functional.tensor_train_shapes import TensorTrainShape

__all__ = [
    "frobenius_norm",
    "merge_cores",
    "normal_cores",
    "tensor_train_rows",
    "tensor_train_scores",
    "tensor_train_table",
]

_BUFFER_ELEMENTS = 2**18  # 1 MiB of float32


def merge_cores(cores: Sequence[Tensor]) -> Tensor:
    """One core that stands for several neighbours, ``(R, prod(J), prod(I), R')``.

    A train of merged cores is the same table. Where all are merged it *is* the table, columns
    first.

    Args:
        cores: One or more, floating, ranks fitting.

    Example:
        >>> merge_cores([torch.ones(1, 2, 3, 4), torch.ones(4, 5, 6, 1)]).shape
        torch.Size([1, 10, 18, 1])
    """
    merged = cores[0]
    for core in cores[1:]:
        a, j1, i1, r = merged.shape
        _, j2, i2, b = core.shape
        # A product per pair of columns: its result lies where it belongs.
        left = merged.reshape(a * j1, 1, i1, r)
        right = core.transpose(0, 1).reshape(1, j2, r, i2 * b)
        merged = torch.matmul(left, right).reshape(a, j1 * j2, i1 * i2, b)
    return merged


def tensor_train_table(cores: Sequence[Tensor]) -> Tensor:
    """The table that the cores stand for, ``(prod(I), prod(J))``.

    Equals, entry by entry, the product in the module's description. A transposed view: its
    columns are contiguous, which is what ``hidden @ table.T`` reads fastest.

    Args:
        cores: All cores, ``(R_{k-1}, J_k, I_k, R_k)`` with ``R_0 = R_d = 1``.

    Example:
        >>> tensor_train_table([torch.ones(1, 2, 3, 4), torch.ones(4, 5, 6, 1)]).shape
        torch.Size([18, 10])
    """
    # Not an index: its gradient would be a whole table of zeros first.
    return merge_cores(cores).squeeze(3).squeeze(0).T


def tensor_train_rows(cores: Sequence[Tensor], rows: Tensor) -> Tensor:
    """Some rows of the table, without building it.

    Equals ``tensor_train_table(cores)[rows]``. Memory: the cores' slices of every row asked for,
    so ask for each row once.

    Args:
        cores: As in :func:`tensor_train_table`.
        rows: ``(n,)``, integer, each in ``[0, prod(I))``.

    Returns:
        ``(n, prod(J))``.

    Example:
        >>> cores = [torch.ones(1, 2, 3, 4), torch.ones(4, 5, 6, 1)]
        >>> tensor_train_rows(cores, torch.tensor([0, 17])).shape
        torch.Size([2, 10])
    """
    indices: list[Tensor] = []
    for core in reversed(cores):
        indices.insert(0, rows % core.shape[2])
        rows = rows // core.shape[2]
    first, *others = cores
    product = first[0].index_select(1, indices[0]).transpose(0, 1)  # (n, J_1, R_1)
    for index, core in zip(indices[1:], others, strict=True):
        n, columns, _ = product.shape
        r, j, _, r_next = core.shape
        slices = core.index_select(2, index).permute(2, 0, 1, 3).reshape(n, r, j * r_next)
        product = torch.bmm(product, slices).view(n, columns * j, r_next)
    return product.squeeze(2)


def tensor_train_scores(cores: Sequence[Tensor], hidden: Tensor) -> Tensor:
    """Products with every row of the table, core by core, without building it.

    Equals ``hidden @ tensor_train_table(cores).T``. Every core in turn replaces a column index of
    the hidden state by a row index, in one matrix product. With a single core, the merged table,
    this is the plain product.

    Args:
        cores: As in :func:`tensor_train_table`, merged or not.
        hidden: ``(B, prod(J))``.

    Returns:
        ``(B, prod(I))``, contiguous.

    Example:
        >>> cores = [torch.ones(1, 2, 3, 4), torch.ones(4, 5, 6, 1)]
        >>> tensor_train_scores(cores, torch.ones(7, 10)).shape
        torch.Size([7, 18])
    """
    if torch.is_grad_enabled() or torch.is_autocast_enabled(hidden.device.type):
        return _contracted(cores, hidden)  # neither goes with writing into a tensor
    # Few rows at a time: what stands between two cores stays in cache, and needs no memory.
    n_scores = math.prod(core.shape[2] for core in cores)
    scores = hidden.new_empty(len(hidden), n_scores)
    at_a_time = (
        max(1, _BUFFER_ELEMENTS // _largest_between(cores)) if len(cores) > 1 else len(scores)
    )
    for start in range(0, len(hidden), max(at_a_time, 1)):
        which = slice(start, start + at_a_time)
        _contracted(cores, hidden[which], out=scores[which])
    return scores


def _largest_between(cores: Sequence[Tensor]) -> int:
    """Numbers per scored row between two cores, at most."""
    largest, scored = 1, 1
    to_come = math.prod(core.shape[1] for core in cores)
    for core in cores[:-1]:
        _, j, i, r_next = core.shape
        scored, to_come = scored * i, to_come // j
        largest = max(largest, scored * to_come * r_next)
    return largest


def _contracted(cores: Sequence[Tensor], hidden: Tensor, out: Tensor | None = None) -> Tensor:
    # Axes: what is done with (batch and rows so far), columns to come, newest row index, rank.
    done, to_come, rows, rank = len(hidden), hidden.shape[1], 1, 1
    n_scores = 1
    x = hidden
    for position, core in enumerate(cores, start=1):
        r, j, i, r_next = core.shape
        split = x.reshape(done, j, to_come // j, rows, rank)
        done, to_come, rows, rank = done * rows, to_come // j, i, r_next
        x = split.permute(0, 3, 2, 4, 1).reshape(done * to_come, r * j)
        n_scores *= i
        if out is not None and position == len(cores):
            torch.mm(x, core.reshape(r * j, i), out=out.view(len(x), i))
            return out
        x = x @ core.reshape(r * j, i * r_next)
    return x.reshape(len(hidden), n_scores)


def frobenius_norm(cores: Sequence[Tensor]) -> Tensor:
    """Square root of the sum of the table's squares, from the cores alone.

    Equals ``tensor_train_table(cores).norm()``.

    Example:
        >>> frobenius_norm([torch.ones(1, 2, 3, 4), torch.ones(4, 5, 6, 1)]) ** 2
        tensor(2880.)
    """
    gram = cores[0].new_ones(1, 1)
    for core in cores:
        slices = core.flatten(1, 2)
        gram = torch.einsum("ac,anb,cnd->bd", gram, slices, slices)
    return gram.squeeze().sqrt()


def normal_cores(shape: TensorTrainShape, std: float) -> list[Tensor]:
    """Random cores whose table's entries have root mean square ``std``.

    An entry is a sum over ``prod(R)`` products of ``d`` normal numbers, so these would need the
    standard deviation ``(std ** 2 / prod(R)) ** (1 / (2 * d))``. Small cores miss that by chance;
    all are scaled alike so that the table meets it exactly.

    Example:
        >>> cores = normal_cores(TensorTrainShape((3, 4, 2), (2, 2, 2), (3, 2)), std=0.5)
        >>> tensor_train_table(cores).square().mean().sqrt()
        tensor(0.5000)
    """
    cores = [torch.randn(core) for core in shape.core_shapes]
    wanted = std * (shape.n_rows * shape.dim) ** 0.5
    scale = (wanted / frobenius_norm(cores)) ** (1 / shape.n_cores)
    return [core * scale for core in cores]
