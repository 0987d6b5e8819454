"""What goes into a file of one of RecBole's own models."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from recbole.model.sequential_recommender import CORE, BERT4Rec, Caser
from torch import Tensor, nn

from recbole_compress.errors import ExportError
from recbole_compress.export.encoder import LookupNode
from recbole_compress.export.lookup import DenseItems, Store, StoredItems
from recbole_compress.export.scoring import Scorer, WholeScorer
from recbole_compress.export.source import Source
from recbole_compress.functional.sequence_mask import sequence_mask

__all__ = ["no_product", "stock_source"]

# What RecBole's models call the arguments of ``forward``.
_CALLED = {
    "item_seq": "item_seq",
    "seq_item": "item_seq",
    "item_seq_len": "length",
    "seq_item_len": "length",
    "user": "user",
}
# Of the largest score: what float32 leaves of one sum beside another order of it.
_ROUNDING = 1e-3


def stock_source(model: Any) -> Source:
    """Take a model apart.

    Args:
        model: With an ``item_embedding``, in evaluation mode.

    Raises:
        ExportError: It reads more than the sequence and the user, or its scores are no product of
            what it makes of them with the item table.
    """
    asked = tuple(inspect.signature(model.forward).parameters)
    if unknown := set(asked) - set(_CALLED):
        raise ExportError(
            f"{type(model).__name__}: wants {', '.join(sorted(unknown))} besides the items; "
            "only models that need nothing but the sequence (and the user) can be exported"
        )
    special = next((encoder for of, encoder in _SPECIAL.items() if isinstance(model, of)), None)

    def store(into: Store) -> tuple[StoredItems, Scorer]:
        bias, scale = _bias(model), _item_scale(model)
        items = DenseItems(into, model.item_embedding.weight, model.n_items, bias, scale)
        return items, Scorer(items) if bias is scale is None else WholeScorer(items)

    def scores(item_seq: Tensor, length: Tensor, user: Tensor) -> Tensor:
        interaction = {model.ITEM_SEQ: item_seq, model.ITEM_SEQ_LEN: length, model.USER_ID: user}
        return model.full_sort_predict(interaction).view(len(item_seq), -1)

    trial = _Trial.of(model, scores)
    if special is None and not _is_product(model, asked, trial):
        raise no_product(model)
    return Source(
        model,
        (special or _StockEncoder)(model),
        [model.item_embedding.weight],
        store,
        scores,
        model.n_items,
        model.max_seq_length,
        padded=_depends_on_padding(scores, trial),
        user="user" in asked,
    )


def no_product(model: nn.Module) -> ExportError:
    """What to say of a model that has no item table, or scores with something else as well."""
    return ExportError(
        f"{type(model).__name__}: only sequential models that score items by a product with "
        "their item table can be exported"
    )


def _bias(model: Any) -> Tensor | None:
    return getattr(model, "output_bias", None)


def _item_scale(model: Any) -> Tensor | None:
    """What every item's product is multiplied with, ``(n_items,)``; None for 1."""
    if not isinstance(model, CORE):
        return None
    # It measures an angle: rows of length 1 before the product, a temperature after it.
    return 1 / (model.item_embedding.weight.norm(dim=1).clamp(min=1e-12) * model.temperature)


# -- encoders --------------------------------------------------------------------------------------


class _StockEncoder(nn.Module):
    """A model of RecBole's whose ``forward`` gives the hidden state, whatever it asks for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = _without_table(model)
        self.asks = tuple(inspect.signature(model.forward).parameters)

    def forward(self, item_seq: Tensor, length: Tensor, user: Tensor | None = None) -> Tensor:
        return self.model(**_arguments(self.asks, item_seq, length, user))


class _BERT4RecEncoder(nn.Module):
    """RecBole puts the mask behind every sequence in a loop over rows, and drops the first item."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = _without_table(model)

    def forward(self, item_seq: Tensor, length: Tensor) -> Tensor:
        longer = nn.functional.pad(item_seq, (0, 1))
        column = torch.arange(longer.shape[1], device=longer.device)
        mask = torch.full_like(longer, self.model.mask_token)
        masked = torch.where(column == length.unsqueeze(1), mask, longer)
        return self.model.gather_indexes(self.model(masked[:, 1:]), length - 1)


class _CaserEncoder(nn.Module):
    """RecBole squeezes an axis that is not there, which ONNX refuses: here it is there."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = _without_table(model)
        self.model.user_embedding = _WithAxis(self.model.user_embedding)

    def forward(self, item_seq: Tensor, length: Tensor, user: Tensor) -> Tensor:
        return self.model(user, item_seq)


class _WithAxis(nn.Module):
    def __init__(self, table: nn.Module) -> None:
        super().__init__()
        self.table = table

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(ids).unsqueeze(1)


# Models whose ``forward`` is not the way from a sequence to its hidden state, or cannot be traced.
_SPECIAL: Mapping[type, type[nn.Module]] = {BERT4Rec: _BERT4RecEncoder, Caser: _CaserEncoder}


def _without_table(model: Any) -> Any:
    """A copy that shares every parameter but the item table, in whose place a stand-in is."""
    shallow = model.__class__.__new__(model.__class__)
    shallow.__dict__ = dict(model.__dict__)
    shallow._modules = dict(model._modules)
    shallow._parameters = {
        name: parameter for name, parameter in model._parameters.items() if name != "output_bias"
    }
    shallow.item_embedding = LookupNode(model.item_embedding.embedding_dim)
    return shallow


def _arguments(
    asked: tuple[str, ...], item_seq: Tensor, length: Tensor, user: Tensor | None
) -> dict[str, Any]:
    given = {"item_seq": item_seq, "length": length, "user": user}
    return {name: given[_CALLED[name]] for name in asked}


# -- what a model does, found out by asking it -----------------------------------------------------


class _Trial(NamedTuple):
    """Made-up sequences, with as much padding as RecBole gives them, and what a model says."""

    item_seq: Tensor
    length: Tensor
    user: Tensor
    said: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, model: Any, scores: Callable) -> _Trial:
        generator = torch.Generator().manual_seed(0)
        short = max(1, model.max_seq_length // 3)
        length = torch.arange(short) % short + 1
        item_seq = torch.randint(1, model.n_items, (short, short), generator=generator)
        item_seq = item_seq * sequence_mask(length, short)
        item_seq = nn.functional.pad(item_seq, (0, model.max_seq_length - short))
        user = torch.zeros(short, dtype=torch.long)
        return cls(item_seq, length, user, scores(item_seq, length, user))


@torch.no_grad()
def _depends_on_padding(scores: Callable, trial: _Trial) -> bool:
    """Whether a model says something else when there is less padding."""
    trimmed = trial.item_seq[:, : len(trial.length)]
    try:
        difference = (scores(trimmed, trial.length, trial.user) - trial.said).abs().max()
    except (RuntimeError, IndexError):  # a convolution over all of max_length, or frequencies of it
        return True
    return bool(difference > 1e-5 * trial.said.abs().max())


@torch.no_grad()
def _is_product(model: Any, asked: tuple[str, ...], trial: _Trial) -> bool:
    if not trial.said.isfinite().all():  # whoever compares file and model says so
        return True
    hidden = model(**_arguments(asked, *trial[:3]))
    table = model.item_embedding.weight[: model.n_items]
    if not isinstance(hidden, Tensor) or hidden.shape != (len(trial.length), table.shape[1]):
        return False
    found = hidden @ table.T
    if (bias := _bias(model)) is not None:
        found = found + bias
    if (scale := _item_scale(model)) is not None:
        found = found * scale
    difference = (found - trial.said)[:, 1:].abs().max()
    return bool(difference <= _ROUNDING * trial.said[:, 1:].abs().max())
