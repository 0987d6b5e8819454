"""How a full-precision model is quantized: recipes by name.

A new recipe is one function in a file of its own and one line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recbole_compress.errors import ConfigError
from recbole_compress.near_names import did_you_mean
from recbole_compress.trainers.adversarial_trainer import AdversarialTrainer
from recbole_compress.trainers.datafree_recipe import readable_by, trained_by
from recbole_compress.trainers.noise_trainer import NoiseTrainer
from recbole_compress.trainers.ptq import check_ptq, ptq
from recbole_compress.trainers.qat_trainer import QATTrainer
from recbole_compress.trainers.quantization_job import QuantizationJob, QuantizationWork
from recbole_compress.trainers.self_sample_trainer import SelfSampleTrainer

__all__ = ["QUANTIZATION_RECIPES", "QuantizationRecipe", "recipe_named"]


@dataclass(frozen=True)
class QuantizationRecipe:
    """A recipe.

    Attributes:
        quantize: Quantizes ``job.model`` in place, not yet packed, and says what became of it and
            what it took.
        check: Refuses a model in evaluation mode that, under a config, ``quantize`` would refuse
            whatever its weights.
        needs_data: Whether it asks for ``job.train_data``.
        has_generator: Whether something learns to make the sequences, and is handed back.
    """

    quantize: Callable[[QuantizationJob], QuantizationWork]
    check: Callable[[Any, Any], None]
    needs_data: bool = False
    has_generator: bool = False


QUANTIZATION_RECIPES: dict[str, QuantizationRecipe] = {
    "ptq": QuantizationRecipe(ptq, check_ptq),
    **{
        trainer.recipe: QuantizationRecipe(
            trained_by(trainer), readable_by(trainer), trainer.reads_data, trainer.has_generator
        )
        for trainer in (SelfSampleTrainer, AdversarialTrainer, NoiseTrainer, QATTrainer)
    },
}


def recipe_named(name: Any) -> QuantizationRecipe:
    """The recipe of that name.

    Raises:
        ConfigError: There is none; says which come near.
    """
    if name not in QUANTIZATION_RECIPES:
        hint = did_you_mean(str(name), QUANTIZATION_RECIPES)
        raise ConfigError(f"quantization_recipe={name!r}: {hint}")
    return QUANTIZATION_RECIPES[name]
