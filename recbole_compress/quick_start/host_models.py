"""Running RecBole's own models through the same data access, checkpoints and report."""

from __future__ import annotations

import functools
from typing import Any

import recbole.data.dataset
from recbole.data.dataset import SequentialDataset
from recbole.utils import ModelType, get_trainer

from recbole_compress.data import AtomicFiles, SequenceDataset
from recbole_compress.errors import ConfigError
from recbole_compress.models import CompressedRecommender
from recbole_compress.trainers import SafeTrainer
from recbole_compress.trainers.recipes import trainer_for

__all__ = ["dataset_class", "trainer_class"]


def dataset_class(config) -> type:
    """The class RecBole would choose, able to read what ours read; for our models, ours.

    Raises:
        ConfigError: A model that is not sequential.
    """
    _check_sequential(config)
    usual = SequenceDataset if _is_ours(config.model_class) else SequentialDataset
    # RecBole goes by the name of the model, which a class derived from it does not have.
    names = [f"{parent.__name__}Dataset" for parent in config.model_class.__mro__]
    own = filter(None, (getattr(recbole.data.dataset, name, None) for name in names))
    return _with(AtomicFiles, next(own, usual))


def _is_ours(model_class: type) -> bool:
    """Whether a class is of this package or made of its parts; any other reads RecBole's rows."""
    of_package = model_class.__module__.split(".")[0] == "recbole_compress"
    return of_package or issubclass(model_class, CompressedRecommender)


def trainer_class(config) -> type[Any]:
    """The class RecBole would choose, with safe checkpoints, or that of the recipe.

    Raises:
        ConfigError: A model that is not sequential; a recipe that there is not, or not for it.
    """
    _check_sequential(config)
    usual = get_trainer(config["MODEL_TYPE"], config["model"])
    return _with(SafeTrainer, trainer_for(config, usual))


def _check_sequential(config: Any) -> None:
    if config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
        raise ConfigError(
            f"model={config['model']!r}: not a sequential recommender; this package runs RecBole's "
            "sequential models and its own"
        )


@functools.cache
def _with(mixin: type, base: type) -> type:
    """``base`` behind ``mixin``, unless it is one already."""
    if issubclass(base, mixin):
        return base
    return type(base.__name__, (mixin, base), {"__doc__": f"RecBole's {base.__name__}, made safe."})
