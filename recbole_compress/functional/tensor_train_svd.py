"""From a dense table to tensor-train cores."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_compress.functional.tensor_train_shapes import TensorTrainShape

__all__ = ["tensor_train_svd"]

# Matrices up to this side are decomposed as a whole, which takes a fraction of a second.
_EXACT_SIDE = 1024
# Vectors that a larger one is sketched with beside twice those wanted, and how often it is refined.
_MORE_VECTORS, _REFINEMENTS = 10, 4


def tensor_train_svd(table: Tensor, shape: TensorTrainShape) -> list[Tensor]:
    """Cores of a tensor train close to ``table``: one truncated SVD per bond.

    With two cores the best there is for that shape, with ``d`` of them within a factor of
    ``sqrt(d - 1)`` of it (in the Frobenius norm), and exact where the ranks suffice. Where a bond's
    matrix has sides above 1024 and the rank is a small part of them, its leading directions are
    found from a random sketch, the same in every call: what is missed grows by less than 1 %; with
    nothing but noise in the table, by 0.2 %. All cores come out with the same root mean square, so
    that one learning rate suits them all.

    Args:
        table: ``(n, shape.dim)``, floating, ``n <= shape.n_rows``; missing rows count as zeros.
        shape: Sizes of the cores.

    Returns:
        Cores ``(R_{k-1}, J_k, I_k, R_k)``, float32 (float64 for a float64 table).

    Raises:
        ValueError: A table that does not fit the shape.

    Example:
        >>> from recbole_compress.functional.tensor_train import tensor_train_table
        >>> shape = TensorTrainShape(rows=(3, 4), cols=(2, 2), ranks=(6,))  # a full rank
        >>> table = torch.arange(44.0).view(11, 4)
        >>> again = tensor_train_table(tensor_train_svd(table, shape))
        >>> torch.allclose(again[:11], table, atol=1e-4)
        True

    Reference:
        Oseledets, "Tensor-Train Decomposition", SIAM J. Sci. Comput. 2011, algorithm 1. The sketch:
        Halko, Martinsson and Tropp, SIAM Review 2011, algorithms 4.4 and 5.1.
    """
    if table.dim() != 2 or len(table) > shape.n_rows or table.shape[1] != shape.dim:
        raise ValueError(
            f"table {tuple(table.shape)}: expected at most {shape.n_rows} rows of {shape.dim}"
        )
    if table.dtype != torch.float64:
        table = table.float()
    padded = F.pad(table, (0, 0, 0, shape.n_rows - len(table)))
    axes = [axis for k in range(shape.n_cores) for axis in (shape.n_cores + k, k)]
    rest = padded.view(*shape.rows, *shape.cols).permute(axes)
    cores = []
    for r, j, i, r_next in shape.core_shapes[:-1]:
        left, values, right = _leading(rest.reshape(r * j * i, -1), r_next)
        cores.append(left.reshape(r, j, i, r_next))
        rest = values[:, None] * right
    cores.append(rest.reshape(shape.core_shapes[-1]))
    return _balanced(cores)


def _leading(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """The first ``rank`` singular vectors and values: ``(m, rank)``, ``(rank,)``, ``(rank, n)``."""
    side, sketched = min(matrix.shape), 2 * rank + _MORE_VECTORS
    if side <= _EXACT_SIDE or sketched > side // 8:
        basis, inside = None, matrix
    else:
        # Drawn on the CPU from a generator of its own: alike on all devices, and no one else's.
        chance = torch.Generator().manual_seed(0)
        sketch = torch.randn(matrix.shape[1], sketched, generator=chance, dtype=matrix.dtype)
        basis = torch.linalg.qr(matrix @ sketch.to(matrix.device)).Q
        for _ in range(_REFINEMENTS):
            basis = torch.linalg.qr(matrix.T @ basis).Q
            basis = torch.linalg.qr(matrix @ basis).Q
        inside = basis.T @ matrix
    left, values, right = torch.linalg.svd(inside, full_matrices=False)
    left = left[:, :rank]
    return left if basis is None else basis @ left, values[:rank], right[:rank]


def _balanced(cores: list[Tensor]) -> list[Tensor]:
    sizes = torch.stack([core.square().mean().sqrt() for core in cores])
    if not sizes.all():  # a table of zeros has no scale
        return cores
    wanted = sizes.log().mean().exp()
    return [core * (wanted / size) for core, size in zip(cores, sizes, strict=True)]
