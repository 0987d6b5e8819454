"""The keys of the distillation recipe, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recbole_compress.distributed.place import here
from recbole_compress.distributed.settings import world_size_of
from recbole_compress.errors import ConfigError
from recbole_compress.limits import ABOVE_ZERO, SHARE, Limit, check_limits

__all__ = ["DistillationSettings"]

_LIMITS = {
    "kd_soft_target_weight": SHARE,
    "kd_contrastive_weight": Limit(0),
    "kd_predictive_weight": Limit(0),
    "kd_temperature": ABOVE_ZERO,
    "kd_contrastive_temperature": ABOVE_ZERO,
    "kd_hot_fraction": SHARE,
    "kd_target_share": Limit(0, 1, without_least=True),
}


@dataclass(frozen=True)
class DistillationSettings:
    """How much of what goes into the loss.

    ``(1 - soft_target) * cross_entropy + soft_target * divergence + contrastive * info_nce +
    predictive * cross_entropies of the views``
    """

    soft_target: float
    contrastive: float
    predictive: float
    temperature: float
    contrastive_temperature: float
    hot_fraction: float
    target_share: float
    reduction: str

    @classmethod
    def of(cls, config: Any) -> DistillationSettings:
        """Read a config.

        Raises:
            ConfigError: A weight, temperature or fraction outside its range, sums asked for in a
                run of several processes, or a teacher that nothing is learned from.
        """
        check_limits(config, _LIMITS)
        settings = config.final_config_dict
        if config["kd_reduction"] == "sum" and max(here().world_size, world_size_of(settings)) > 1:
            raise ConfigError(
                "kd_reduction=sum: every process has a part of the batch only, and its sum is "
                "another loss; take kd_reduction=mean, or one process"
            )
        if config["kd_reduction"] == "sum" and config["kd_target_share"] < 1:
            raise ConfigError(
                f"kd_target_share={config['kd_target_share']}: sums are over all targets; take "
                "kd_reduction=mean"
            )
        found = cls(
            soft_target=config["kd_soft_target_weight"],
            contrastive=config["kd_contrastive_weight"],
            predictive=config["kd_predictive_weight"],
            temperature=config["kd_temperature"],
            contrastive_temperature=config["kd_contrastive_temperature"],
            hot_fraction=config["kd_hot_fraction"],
            target_share=config["kd_target_share"],
            reduction=config["kd_reduction"],
        )
        if not found.asks_the_teacher and config["kd_start"] != "teacher":
            raise ConfigError(
                "kd_soft_target_weight=0, kd_contrastive_weight=0, kd_predictive_weight=0: nothing "
                "is learned from the teacher; give one of them a weight, take --kd_start=teacher, "
                "or leave --recipe=distillation out"
            )
        return found

    @property
    def recombines(self) -> bool:
        """Whether any loss needs recombined sessions."""
        return self.contrastive > 0 or self.predictive > 0

    @property
    def asks_the_teacher(self) -> bool:
        """Whether training needs its answers, and not its weights alone."""
        return self.soft_target > 0 or self.recombines
