"""Training recipes by the name they have in the config."""

from __future__ import annotations

from typing import Any

from recbole.trainer import Trainer

from recbole_compress.errors import ConfigError
from recbole_compress.models import CompressedRecommender
from recbole_compress.near_names import did_you_mean
from recbole_compress.trainers.compress_trainer import CompressTrainer
from recbole_compress.trainers.distillation_trainer import DistillationTrainer
from recbole_compress.trainers.transfer_trainer import TransferTrainer

__all__ = ["RECIPES", "trainer_for"]

RECIPES: dict[str, type[CompressTrainer]] = {
    trainer.recipe: trainer for trainer in (CompressTrainer, DistillationTrainer, TransferTrainer)
}


def trainer_for(config: Any, usual: type) -> type:
    """The trainer that carries out the config's recipe.

    Args:
        config: Its ``recipe`` and ``model_class`` are read.
        usual: The trainer that belongs to the model, which trains on the data alone.

    Raises:
        ConfigError: An unknown recipe, or one that this model cannot be trained with.
    """
    recipe = config["recipe"] or CompressTrainer.recipe
    if recipe not in RECIPES:
        raise ConfigError(f"recipe={recipe!r}: {did_you_mean(str(recipe), RECIPES)}")
    ours = issubclass(config.model_class, CompressedRecommender)
    if recipe == CompressTrainer.recipe:
        # RecBole finds a trainer by a model's name, which a class of the user's has its own of.
        return CompressTrainer if ours and usual is Trainer else usual
    if not ours:
        name = config.external_config_dict.get("model", config["model"])
        learns = not getattr(config.model_class, "scores_only_order", False)
        raise ConfigError(
            f"recipe={recipe}: is for the models of this package, not for {config['model']}"
            + (RECIPES[recipe].for_others(name) if learns else "")
        )
    return RECIPES[recipe]
