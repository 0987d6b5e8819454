"""What a model stores: parameters and bytes, by item input, item output and backbone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn

from recbole_compress.models import CompressedRecommender
from recbole_compress.models.changed_config import ChangedConfig
from recbole_compress.models.choices import Assembly
from recbole_compress.quantization.packing import packed_numbers

__all__ = [
    "ModelSize",
    "PartSizes",
    "count_storage",
    "item_tensors",
    "item_width",
    "reference_bytes",
]


class PartSizes(NamedTuple):
    """One quantity, split by what it is for."""

    item_input: int
    item_output: int
    backbone: int

    @property
    def total(self) -> int:
        return sum(self)

    def as_dict(self) -> dict[str, int]:
        return {**self._asdict(), "total": self.total}


class ModelSize(NamedTuple):
    """Result of :func:`count_storage`."""

    parameters: PartSizes
    size_bytes: PartSizes


def count_storage(model: SequentialRecommender) -> ModelSize:
    """Count what ``model`` stores, every shared storage once.

    Bytes are those of ``state_dict()``, parameters and persistent buffers, at the width they are
    stored in; ``parameters`` counts the numbers of the ``nn.Parameter`` ones, frozen or not.
    Without sharing equals::

        parameters = sum(p.numel() for p in model.parameters())
        size_bytes = sum(t.numel() * t.element_size() for t in model.state_dict().values())

    What the item input and the item output share counts for the input, so a tied head owns 0. Of
    packed integers the bytes are those that are stored, the parameters the numbers they stand for.

    Args:
        model: A model of this package, or any sequential one with an ``n_items``, whose item
            tensors are found by :func:`item_tensors`.

    Example:
        >>> model = nn.Module()
        >>> model.n_items = 100
        >>> model.item_embedding, model.dense = nn.Embedding(100, 8), nn.Linear(8, 8)
        >>> count_storage(model).parameters
        PartSizes(item_input=800, item_output=0, backbone=72)
    """
    item_input, item_output = item_tensors(model)
    parts = (item_input, item_output, _stored_tensors(model))
    only_parameters = [[t for t in part if isinstance(t, nn.Parameter)] for part in parts]
    plain, packed = _split(only_parameters, in_bytes=False), _packed(parts, packed_numbers(model))
    return ModelSize(
        parameters=PartSizes(*(a + b for a, b in zip(plain, packed, strict=True))),
        size_bytes=_split(parts, in_bytes=True),
    )


def item_tensors(model: SequentialRecommender) -> tuple[list[Tensor], list[Tensor]]:
    """The stored tensors of the item input and of the item output; shared ones in both.

    A model of this package says so itself. In any other the shape decides, since names differ from
    model to model: tables of ``nn.Embedding`` with a row per item (or one more, for a mask
    token) are input; every other parameter with that many rows, such as the weight of a last
    dense layer or a bias per item, is output. Two item tables are both input, and so is a table
    of exactly as many users.
    """
    if isinstance(model, CompressedRecommender):
        return _stored_tensors(model.item_embedding), _stored_tensors(model.item_head)
    rows = (model.n_items, model.n_items + 1)
    tables = [
        tensor
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module.num_embeddings in rows
        for tensor in _stored_tensors(module)
    ]
    known = {id(table) for table in tables}
    # Codes and scales of a packed table are buffers with as many rows.
    stored = _stored_tensors(model) if packed_numbers(model) else list(model.parameters())
    output = [t for t in stored if t.shape[:1] and t.shape[0] in rows]
    return tables, [t for t in output if id(t) not in known]


def reference_bytes(model: SequentialRecommender, config: Any) -> dict[str, int | None]:
    """Bytes of the uncompressed counterpart, once with a tied and once with an untied head.

    That is the same backbone without layer sharing and adapters, and one or two dense fp32 tables
    of ``n_items`` rows. A model that is not of this package has nothing to undo in its backbone.

    Args:
        model: The model.
        config: The config it was made from; read for a model of this package only.

    Returns:
        ``{"tied": ..., "untied": ...}``; None for both if the model has no item table, and for tied
        if it reads items of one catalogue and recommends those of another.
    """
    width = item_width(model)
    if width is None:
        return {"tied": None, "untied": None}
    if isinstance(model, CompressedRecommender):
        backbone = _uncompressed_backbone_bytes(model.n_items, config)
    else:
        size = count_storage(model)
        backbone = size.size_bytes.backbone
        if packed_numbers(model):
            backbone = size.parameters.backbone * torch.float32.itemsize
    row = width * torch.float32.itemsize
    if isinstance(model, CompressedRecommender) and not model.one_catalogue:
        rows = model.item_embedding.num_embeddings + model.n_items
        return {"tied": None, "untied": backbone + rows * row}
    table = model.n_items * row
    return {"tied": backbone + table, "untied": backbone + 2 * table}


def item_width(model: SequentialRecommender) -> int | None:
    """Width of the item vectors that a model of any origin reads; None if it has no item table."""
    if isinstance(model, CompressedRecommender):
        return model.item_embedding.embedding_dim
    rows = (model.n_items, model.n_items + 1)
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings in rows:
            return module.embedding_dim
    return None


def _uncompressed_backbone_bytes(n_items: int, config: Any) -> int:
    with torch.device("meta"):  # shapes only: no memory, no random numbers
        assembly = Assembly(ChangedConfig(config, {"layer_sharing": "none"}), torch.empty(n_items))
        parts = (assembly.backbone, assembly.readout, assembly.pointer)
        stored = [t for part in parts if part is not None for t in _stored_tensors(part)]
        return _extent(stored, in_bytes=True)


def _stored_tensors(module: nn.Module) -> list[Tensor]:
    state = module.state_dict(keep_vars=True)
    return [tensor for tensor in state.values() if isinstance(tensor, Tensor)]


def _packed(parts: Sequence[Sequence[Tensor]], numbers: Mapping[int, int]) -> PartSizes:
    """Numbers that the packed tensors of each part stand for, each once."""
    left = dict(numbers)
    return PartSizes(*(sum(left.pop(id(tensor), 0) for tensor in part) for part in parts))


def _split(parts: Sequence[Sequence[Tensor]], in_bytes: bool) -> PartSizes:
    """What each part adds to the parts before it."""
    covered = [0]
    tensors: list[Tensor] = []
    for part in parts:
        tensors.extend(part)
        covered.append(_extent(tensors, in_bytes))
    return PartSizes(*(after - before for before, after in itertools.pairwise(covered)))


def _extent(tensors: Iterable[Tensor], in_bytes: bool) -> int:
    """Numbers or bytes that the tensors cover together; views of one storage overlap."""
    spans: dict[int, list[tuple[int, int]]] = {}
    for tensor in tensors:
        if tensor.numel():
            unit = tensor.element_size() if in_bytes else 1
            start = int(tensor.storage_offset())
            steps = zip(tensor.shape, tensor.stride(), strict=True)
            end = start + 1 + sum((n - 1) * int(stride) for n, stride in steps)
            # `_cdata` rather than `data_ptr()`, which is 0 for every storage on the meta device.
            storage = spans.setdefault(tensor.untyped_storage()._cdata, [])
            storage.append((start * unit, end * unit))
    total = 0
    for storage in spans.values():
        covered = 0
        for start, end in sorted(storage):
            total += max(0, end - max(start, covered))
            covered = max(covered, end)
    return total
