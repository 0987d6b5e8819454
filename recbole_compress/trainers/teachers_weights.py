"""A student that begins where its teacher ended."""

from __future__ import annotations

from typing import Any

import torch

from recbole_compress.errors import ConfigError
from recbole_compress.models import CompressedRecommender
from recbole_compress.models.compressed_recommender import name_without_pointer

__all__ = ["check_can_begin_as", "take_over_weights"]

_TABLE = "item_embedding."


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

    Its item table comes as close to the teacher's as its form allows; of everything else it takes
    what has the same name and shape, and keeps its own start where there is nothing such.

    Args:
        student: Changed.
        teacher: With item vectors of the student's width, on the same items.

    Returns:
        What was taken over, in a line for the log.
    """
    table = teacher.item_embedding.dense_weight()
    student.item_embedding.approximate_(table)
    left = (student.item_embedding.dense_weight() - table)[1:].norm() / table[1:].norm()
    theirs = {name_without_pointer(name): p for name, p in teacher.named_parameters()}
    named = student.named_parameters()
    rest = {name_without_pointer(n): p for n, p in named if not n.startswith(_TABLE)}
    alike = [n for n, p in rest.items() if n in theirs and theirs[n].shape == p.shape]
    for name in alike:
        rest[name].copy_(theirs[name])
    return (
        f"begins with its teacher's weights: the item table within {left:.0%} of the teacher's, "
        f"{len(alike)} of {len(rest)} other tensors"
    )
