"""Making our names known to RecBole, so that its own functions find them.

RecBole looks classes up by name: models as ``recbole.model.sequential_recommender.<name>``,
trainers as ``recbole.trainer.<Name>Trainer``, data sets as ``recbole.data.dataset.<Name>Dataset``.
An alias and two attributes per model are enough; no function is replaced. The one method wrapped is
``Config._load_internal_config_dict``, because RecBole reads yaml files from its own folder only.
"""

from __future__ import annotations

import functools
import sys

import recbole.data.dataset
import recbole.trainer
from recbole.config import Config as RecBoleConfig

from recbole_compress import models
from recbole_compress.config.internal_defaults import internal_defaults
from recbole_compress.config.model_names import REGISTERED, STAND_INS
from recbole_compress.data import SequenceDataset
from recbole_compress.models.popularity import Pop
from recbole_compress.models.recency import Recency
from recbole_compress.trainers import CompressTrainer
from recbole_compress.trainers.checkpoint import allow_in_recbole

__all__ = ["install", "register"]


def register(model: type, trainer: type = CompressTrainer, dataset: type = SequenceDataset) -> None:
    """Make ``--model=<model.__name__>`` work in RecBole's own functions and in ours.

    Args:
        model: A ``SequentialRecommender`` defined in an importable module.
        trainer: Its trainer.
        dataset: Its data set class.

    Raises:
        ValueError: RecBole has a model of that name itself, or the module cannot be imported
            by name (a notebook cell, ``__main__``).
    """
    name = model.__name__
    key = f"recbole.model.sequential_recommender.{name.lower()}"
    module = sys.modules[model.__module__]
    if module.__spec__ is None:
        raise ValueError(f"{name}: define it in a module file, RecBole imports models by name")
    if sys.modules.get(key, module) is not module:
        raise ValueError(f"{name}: RecBole already has a model of that name; choose another")
    sys.modules[key] = module
    setattr(recbole.trainer, f"{name}Trainer", trainer)
    setattr(recbole.data.dataset, f"{name}Dataset", dataset)
    REGISTERED[name] = model


def install() -> None:
    """Register all models of this package and our yaml files. Idempotent."""
    for name in models.__all__:
        if name != "CompressedRecommender":
            register(getattr(models, name))
    register(Recency, recbole.trainer.Trainer)
    STAND_INS[Pop.__name__] = Pop
    allow_in_recbole()
    load = RecBoleConfig._load_internal_config_dict
    if hasattr(load, "__wrapped__"):
        return

    @functools.wraps(load)
    def load_with_ours(self, model, model_class, dataset):
        load(self, model, model_class, dataset)
        internal_defaults(self, model, dataset)

    RecBoleConfig._load_internal_config_dict = load_with_ours
