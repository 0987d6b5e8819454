"""From a dense table to tensor-train cores."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_compress.functional.tensor_train_shapes import TensorTrainShape

__all__ = ["tensor_train_svd"]


def tensor_train_svd(table: Tensor, shape: TensorTrainShape) -> list[Tensor]:
    """Cores of a tensor train close to ``table``: one truncated SVD per bond.

    With two cores the best there is for that shape, with ``d`` of them within a factor of
    ``sqrt(d - 1)`` of it (in the Frobenius norm), and exact where the ranks suffice. All cores come
    out with the same root mean square, so that one learning rate suits them all.

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
        Oseledets, "Tensor-Train Decomposition", SIAM J. Sci. Comput. 2011, algorithm 1.
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
        left, values, right = torch.linalg.svd(rest.reshape(r * j * i, -1), full_matrices=False)
        cores.append(left[:, :r_next].reshape(r, j, i, r_next))
        rest = values[:r_next, None] * right[:r_next]
    cores.append(rest.reshape(shape.core_shapes[-1]))
    return _balanced(cores)


def _balanced(cores: list[Tensor]) -> list[Tensor]:
    sizes = torch.stack([core.square().mean().sqrt() for core in cores])
    if not sizes.all():  # a table of zeros has no scale
        return cores
    wanted = sizes.log().mean().exp()
    return [core * (wanted / size) for core, size in zip(cores, sizes, strict=True)]
