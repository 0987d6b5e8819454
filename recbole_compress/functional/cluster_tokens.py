"""One row in the place of many: the token that stands for a tail in the first softmax."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["fitted_token"]

# Of the states' own size: enough where there are fewer of them than a state has numbers.
_RIDGE = 1e-6
_SCORES_AT_ONCE = 2**24


def fitted_token(rows: Tensor, hidden: Tensor) -> Tensor:
    """The vector that scores as all rows do together, by least squares.

    Equals, but for a small ridge::

        torch.linalg.lstsq(hidden, (hidden @ rows.T).logsumexp(1)).solution

    Args:
        rows: ``(n, dim)``.
        hidden: States such as there will be, ``(N, dim)``.

    Returns:
        ``(dim,)``.

    Example:
        >>> rows, hidden = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[9.0, 1.0]])
        >>> round(float(hidden @ fitted_token(rows, hidden)), 1)
        18.0
    """
    at_once = max(1, _SCORES_AT_ONCE // len(rows))
    together = torch.cat([(part @ rows.T).logsumexp(1) for part in hidden.split(at_once)])
    states = hidden.double()  # states lie close together, what sets them apart is in late digits
    gram = states.T @ states
    gram.diagonal().add_(gram.diagonal().mean().clamp(min=1e-30) * _RIDGE)
    return torch.linalg.solve(gram, states.T @ together.double()).to(rows.dtype)
