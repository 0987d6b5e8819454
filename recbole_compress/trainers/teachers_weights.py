"""A student that begins where its teacher ended."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recbole_compress.errors import ConfigError
from recbole_compress.models import CompressedRecommender
from recbole_compress.models.compressed_recommender import name_without_pointer

__all__ = ["check_can_begin_as", "take_over_weights"]

_TABLE, _HEAD = "item_embedding.", "item_head."
# Items whose states stand for those there will be.
_ASKED = 2_048
_NAMED = 5


def check_can_begin_as(teacher_class: Any, width: int | None, config: Any, name: str) -> None:
    """Refuse a teacher that has no table for the student to begin with.

    Args:
        teacher_class: Of the teacher's model.
        width: Of its item vectors.
        config: Of the student.
        name: What the user calls the teacher.

    Raises:
        ConfigError: A model of RecBole's own, or one of another width.
    """
    if config["kd_start"] != "teacher":
        return
    if not issubclass(teacher_class, CompressedRecommender):
        raise ConfigError(
            f"kd_start=teacher: {name} is {teacher_class.__name__}, no model of this package; take "
            "--kd_start=random, or the student's uncompressed counterpart as the teacher"
        )
    if width != config["embedding_size"]:
        raise ConfigError(
            f"kd_start=teacher: {name} has item vectors of {width} numbers, the student of "
            f"embedding_size={config['embedding_size']}; give both the same"
        )


@torch.no_grad()
def take_over_weights(student: CompressedRecommender, teacher: CompressedRecommender) -> str:
    """Give the student the teacher's weights, as far as it can have them.

    Its item table and its head come as close to the teacher's as their forms allow; of everything
    else it takes what has the same name and shape, and keeps its own start where there is nothing
    such.

    Args:
        student: Changed.
        teacher: With item vectors of the student's width, on the same items.

    Returns:
        What was taken over, in a line for the log.
    """
    table = teacher.item_embedding.dense_weight()
    student.item_embedding.approximate_(table)
    left = (student.item_embedding.dense_weight() - table)[1:].norm() / table[1:].norm()
    theirs, rest = _beside_the_table(teacher), _beside_the_table(student)
    taken = {n for n, p in rest.items() if n in theirs and theirs[n].shape == p.shape}
    of_head = {name for name in rest if name.startswith(_HEAD)}
    if not of_head <= taken:
        taken -= of_head  # a part of a head says nothing without the others
    for name in taken:
        rest[name].copy_(theirs[name])
    by_place = _by_place(student) & rest.keys() & theirs.keys() - taken
    for name in by_place:
        rest[name].copy_(theirs[name][: len(rest[name])])
    rows = teacher.item_head.of_vectors.output_rows()
    if not of_head <= taken and rows is not None:
        student.item_head.approximate_(rows, _some_states(teacher))
        taken |= of_head
    own = sorted(rest.keys() - taken - by_place)
    named = ", ".join(own[:_NAMED]) + (f" and {len(own) - _NAMED} more" if own[_NAMED:] else "")
    return (
        f"begins with its teacher's weights: the item table within {left:.0%} of the teacher's, "
        + (f"with a start of its own {named}" if own else "and all else")
    )


def _beside_the_table(model: CompressedRecommender) -> dict[str, nn.Parameter]:
    named = model.named_parameters()
    return {name_without_pointer(n): p for n, p in named if not n.startswith(_TABLE)}


def _by_place(model: nn.Module) -> set[str]:
    """Parameters with a row per place in the sequence, or per age: a longer teacher has more."""
    modules = model.named_modules()
    return {f"{name}.{own}" for name, part in modules for own in getattr(part, "by_place", ())}


def _some_states(model: CompressedRecommender) -> Tensor:
    """What the model makes of single items, ``(N, dim)``: states there are without any data."""
    table = model.item_embedding
    n_items = table.num_embeddings - 1
    ids = torch.linspace(1, n_items, min(n_items, _ASKED), device=model.device).long()
    return model(ids.unsqueeze(1), torch.ones_like(ids))[:, : table.embedding_dim]
