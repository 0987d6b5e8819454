"""Rankings without what is in the sequence already: a shop does not offer what was bought."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recbole_compress.errors import ConfigError

__all__ = ["exclude_history_", "refuse_exclusion", "topk_without_history"]


def refuse_exclusion(config, of_the_source: bool) -> None:
    """Check ``exclude_history`` against the other settings.

    Args:
        config: Of the run.
        of_the_source: Sequences are of other items than those that are ranked.

    Raises:
        ConfigError: It is asked for with such sequences, or where nothing is ranked in full.
    """
    if not config["exclude_history"]:
        return
    modes = config["eval_args"]["mode"]
    if set(modes.values()) != {"full"}:
        raise ConfigError(
            f"exclude_history=True with eval_args mode={modes}: takes items out of full rankings "
            "only; use mode full, or leave exclude_history out"
        )
    if of_the_source:
        raise ConfigError(
            f"exclude_history=True with recipe={config['recipe']}: sequences are of the source's "
            "items, and the target's are ranked; leave exclude_history out"
        )


def exclude_history_(scores: Tensor, item_seq: Tensor) -> Tensor:
    """Put the items of each sequence behind all others, in place.

    Args:
        scores: ``(B, n_items)``, floating point.
        item_seq: Item ids, ``(B, L)``, right-padded with 0.

    Returns:
        ``scores``, with ``-inf`` for padding and for every item of the row's sequence.

    Example:
        >>> exclude_history_(torch.zeros(1, 4), torch.tensor([[2, 2, 0]]))
        tensor([[-inf, 0., -inf, 0.]])
    """
    return scores.scatter_(1, item_seq, -torch.inf)


def topk_without_history(
    topk: Callable[[int], Tensor], item_seq: Tensor, k: int, n_items: int
) -> Tensor:
    """The ``k`` best items that are not in the sequence, best first.

    Equals the top-k of scores that went through :func:`exclude_history_`, with id 0 in the last
    places where fewer than ``k`` items are left.

    Args:
        topk: From a number to the ids of so many best items, ``(B, number)``.
        item_seq: Item ids, ``(B, L)``, right-padded with 0.
        k: Below ``n_items``.
        n_items: Catalogue size with padding; more than ``n_items - 1`` are never asked for.

    Returns:
        Ids, ``(B, k)``.

    Example:
        >>> best = torch.tensor([[3, 1, 2, 4]])
        >>> topk_without_history(lambda k: best[:, :k], torch.tensor([[1, 3, 0]]), 2, n_items=5)
        tensor([[2, 4]])
    """
    ids = topk(min(k + item_seq.shape[1], n_items - 1))
    known = (ids.unsqueeze(2) == item_seq.unsqueeze(1)).any(2)
    order = known.byte().argsort(dim=1, stable=True)
    return ids.masked_fill(known, 0).gather(1, order)[:, :k]
