"""Whether a model of RecBole can be a teacher: made small, untrained, and asked once."""

from __future__ import annotations

import contextlib

import torch
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_compress.config import Config
from recbole_compress.errors import DataError
from recbole_compress.models import CompressedRecommender
from recbole_compress.models.compressed_recommender import TrainingRows
from recbole_compress.quick_start.from_checkpoint import made_anew
from recbole_compress.trainers.random_state import untouched
from recbole_compress.trainers.teacher import as_teacher, no_scores

__all__ = ["check_stock_teacher"]

# Numbers that no width of a model is likely to be.
_CATALOGUE = {"n_items": 1_009, "n_users": 2_003}


def check_stock_teacher(config: Config, recombines: bool) -> None:
    """Refuse a teacher that reads more than sequences, or has no vectors to recombine.

    Models of this package are teachers as they are. One that cannot be made without its data set
    is asked in its training only.

    Args:
        config: The teacher's.
        recombines: Whether its vectors will be asked for.

    Raises:
        ConfigError: From the teacher itself.
    """
    model_class = config.model_class
    if issubclass(model_class, CompressedRecommender):
        return
    # Before it is made, which some cannot be without their data set.
    if model_class.full_sort_predict is AbstractRecommender.full_sort_predict:
        raise no_scores(model_class.__name__)
    # Where it is cheap, and takes no memory of a GPU.
    with untouched():
        _ask(config.with_values(device=torch.device("cpu")), recombines)


def _ask(config: Config, recombines: bool) -> None:
    try:
        model = made_anew(config, _CATALOGUE)
    except Exception:  # its own training makes the model first of all, and says so
        return
    teacher, rows = as_teacher(model), _rows(config["MAX_ITEM_LIST_LENGTH"])
    # Scores first: one that reads users cannot teach, with vectors or without.
    with contextlib.suppress(DataError):  # a model of the user's may look at its data set here
        scores, _ = teacher.answer(rows, with_side=False)
        scores(slice(None))
        teacher.answer(rows, with_side=recombines)


def _rows(length: int) -> TrainingRows:
    """Two sequences, a full one and one of a single item."""
    item_seq = torch.arange(1, length + 1).remainder(_CATALOGUE["n_items"] - 1).add(1).repeat(2, 1)
    item_seq[1, 1:] = 0
    return TrainingRows(item_seq, torch.tensor([length, 1]), torch.tensor([1, 2]), None)
