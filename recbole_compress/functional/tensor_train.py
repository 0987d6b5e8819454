"""Tensor-train tables: looking up rows, scoring against all of them, building them.

Every core is stored as ``(R_{k-1}, J_k, I_k, R_k)``: rank, column mode, row mode, rank. In that
order each step of scoring is one matrix product on the core as it lies, and a table built from its
cores comes out as ``(dim, rows)`` with no entry moved afterwards.

Row ``i`` and column ``j`` of the table are mixed-radix numbers, most significant index first::

    table[i, j] = G_1[:, j_1, i_1, :] @ ... @ G_d[:, j_d, i_d, :]
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_compress.functional.tensor_train_costs import rows_together, shared_cores
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
# 256 MiB: an accelerator wants few large products, and has no cache to stay in.
_BUFFER_ELEMENTS_OF_ACCELERATORS = 2**26


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

    Equals ``tensor_train_table(cores)[rows]``. Rows with the same first indices share what these
    give, and are made in products of several; a few at a time, so that what is gathered of the
    cores for them stays in cache. Nothing of it is kept for the backward pass, which gathers
    again: memory is that of the result and of the cores' gradients. There is no second derivative.
    Autocast changes nothing, as it changes nothing about the table.

    Args:
        cores: As in :func:`tensor_train_table`, two or more.
        rows: ``(n,)``, integer, each in ``[0, prod(I))``. Ask for each row once: repeats cost
            as much as others.

    Returns:
        ``(n, prod(J))``.

    Example:
        >>> cores = [torch.ones(1, 2, 3, 4), torch.ones(4, 5, 6, 1)]
        >>> tensor_train_rows(cores, torch.tensor([0, 17])).shape
        torch.Size([2, 10])
    """
    with torch.autocast(cores[0].device.type, enabled=False):
        n_shared = shared_cores([core.shape[2] for core in cores], len(rows))
        indices: list[Tensor] = []
        for core in reversed(cores[n_shared:]):
            indices.insert(0, rows % core.shape[2])
            rows = rows // core.shape[2]
        # What the first indices give, (prefixes, columns, rank), and which of it is whose.
        left, which = merge_cores(cores[:n_shared]).squeeze(0).transpose(0, 1), rows
        for index, core in zip(indices, cores[n_shared:], strict=True):
            product = _RowProducts.apply(left, which, _by_row(core, len(index)), index)
            left = product.view(len(index), left.shape[1] * core.shape[1], core.shape[3])
            which = torch.arange(len(index), device=index.device)
        return left.squeeze(2)


def _by_row(core: Tensor, n_rows: int) -> Tensor:
    """A core with its row index first and the rank to sum over last, ``(I, J * R', R)``."""
    r, j, i, r_next = core.shape
    if 2 * n_rows < i:  # a few slices gathered with a stride cost less than moving all
        return core.permute(2, 1, 3, 0).reshape(i, j * r_next, r)
    moved = core.reshape(r, j * i * r_next).T.contiguous().view(j, i, r_next, r)
    return moved.transpose(0, 1).reshape(i, j * r_next, r)


class _RowProducts(torch.autograd.Function):
    """``left[which[k]] @ right[index[k]].T`` for every ``k``, ``(n, J * Q)``.

    ``left`` is ``(P, J, R)``, ``right`` is ``(I, Q, R)``. Those with the same ``which`` are cut
    into blocks of equal length, a product each; the last block of each is filled up with repeats.
    """

    @staticmethod
    def forward(ctx: Any, left: Tensor, which: Tensor, right: Tensor, index: Tensor) -> Tensor:
        lefts, rights, place = _blocks(which, index, len(left))
        (n_blocks, length), columns, q = rights.shape, left.shape[1], right.shape[1]
        products = left.new_empty(n_blocks, length, columns, q)
        for some in _slices_in_cache(left, right, rights):
            left_slices = left.index_select(0, lefts[some])
            right_slices = _gathered(right, rights[some])
            product = torch.bmm(left_slices, right_slices.transpose(1, 2))
            products[some] = product.view(-1, columns, length, q).transpose(1, 2)
        ctx.save_for_backward(left, right, lefts, rights, place)
        products = products.view(n_blocks * length, columns * q)
        return products if place is None else products.index_select(0, place)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        left, right, lefts, rights, place = ctx.saved_tensors
        (n_blocks, length), columns, q = rights.shape, left.shape[1], right.shape[1]
        grad_products = grad_output
        if place is not None:
            grad_products = grad_output.new_zeros(n_blocks * length, columns * q)
            grad_products[place] = grad_output
        grad_products = grad_products.reshape(n_blocks, length, columns, q)
        needs_left, _, needs_right, _ = ctx.needs_input_grad
        grad_left = left.new_zeros(left.shape) if needs_left else None
        grad_right = right.new_zeros(right.shape) if needs_right else None
        for some in _slices_in_cache(left, right, rights):
            grad = grad_products[some].transpose(1, 2).reshape(-1, columns, length * q)
            if grad_left is not None:
                of_left = torch.bmm(grad, _gathered(right, rights[some]))
                grad_left.index_add_(0, lefts[some], of_left)
            if grad_right is not None:
                of_right = torch.bmm(grad.transpose(1, 2), left.index_select(0, lefts[some]))
                which = rights[some].flatten()
                grad_right.flatten(1).index_add_(0, which, of_right.view(len(which), -1))
        return grad_left, None, grad_right, None


def _blocks(which: Tensor, index: Tensor, n_prefixes: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Blocks of rows with the same prefix.

    Returns:
        Each block's prefix; the last indices of its rows, ``(blocks, length)``; the place of every
        row among those, None where they are in order.
    """
    length = rows_together(n_prefixes, len(which))
    if length == 1:
        return which, index.unsqueeze(1), None
    order = which.argsort()
    counts = torch.bincount(which, minlength=n_prefixes)
    ends = counts.cumsum(0)
    n_blocks = (counts + (length - 1)) // length
    prefixes = torch.arange(n_prefixes, device=which.device).repeat_interleave(n_blocks)
    before = n_blocks.cumsum(0) - n_blocks
    # How much further a row lies among the blocks than in order.
    filled_up = before * length - (ends - counts)
    slots = torch.arange(len(prefixes) * length, device=which.device).view(-1, length)
    in_order = torch.minimum(slots - filled_up[prefixes, None], ends[prefixes, None] - 1)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=which.device) + filled_up[which[order]]
    return prefixes, index[order][in_order], place


def _slices_in_cache(left: Tensor, right: Tensor, rights: Tensor) -> Iterator[slice]:
    """Blocks in turn, as many at once as the buffer has room for what they gather."""
    n_blocks, length = rights.shape
    numbers = (left.shape[1] + length * right.shape[1]) * left.shape[2]
    on_cpu = left.device.type == "cpu"
    room = _BUFFER_ELEMENTS if on_cpu else _BUFFER_ELEMENTS_OF_ACCELERATORS
    at_once = max(1, room // max(numbers, 1))
    return (slice(start, start + at_once) for start in range(0, n_blocks, at_once))


def _gathered(right: Tensor, rights: Tensor) -> Tensor:
    """Slices of a block below each other, ``(blocks, length * Q, R)``."""
    slices = right.index_select(0, rights.flatten())
    return slices.view(len(rights), -1, right.shape[2])


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
    # Squares of many large cores are beyond float32.
    norm = frobenius_norm([core.double() for core in cores])
    scale = ((wanted / norm) ** (1 / shape.n_cores)).to(cores[0].dtype)
    return [core * scale for core in cores]
