"""The keys of the data-free recipes, checked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from recbole_compress.datafree import (
    Candidates,
    SamplingSettings,
    epsilon_greedy,
    gumbel_top_k,
)
from recbole_compress.errors import ConfigError
from recbole_compress.limits import ABOVE_ZERO, SHARE, Limit, check_limits

__all__ = ["DataFreeSettings", "Discrepancy", "Game"]

_LIMITS = {
    "df_epochs": Limit(1),
    "df_batch_size": Limit(1),
    "df_sequences": Limit(1),
    "df_pool_epochs": Limit(1),
    "df_valid_sequences": Limit(1),
    "df_stopping_step": Limit(0),
    "df_min_length": Limit(1),
    "df_candidates_above": Limit(0),
    "df_top_candidates": Limit(1),
    "df_tail_candidates": Limit(1),
    "df_grid_rate": Limit(0),
    "df_negative_weight": Limit(0),
    "df_ranking_weight": Limit(0),
    "df_similarity_weight": Limit(0),
    "df_ranking_items": Limit(1),
    "df_ranking_stride": Limit(1),
    "df_similarity_items": Limit(2),
    "df_gumbel_items": Limit(1),
    "df_student_steps": Limit(1),
    "df_generator_steps": Limit(0),
    "df_warmup_epochs": Limit(0),
    "df_learning_rate": ABOVE_ZERO,
    "df_generator_learning_rate": ABOVE_ZERO,
    "df_temperature": ABOVE_ZERO,
    "df_kl_temperature": ABOVE_ZERO,
    "df_gumbel_temperature": ABOVE_ZERO,
    "df_epsilon": SHARE,
}


@dataclass(frozen=True)
class Discrepancy:
    """``L+ + negative * L- + ranking * L_RD + similarity * L_Sim``."""

    negative: float
    ranking: float
    similarity: float
    ranking_items: int
    ranking_stride: int
    similarity_items: int


@dataclass(frozen=True)
class Game:
    """How the generator draws, and how often it learns."""

    synthesis: str
    epsilon: float
    gumbel_items: int
    gumbel_temperature: float
    learning_rate: float
    student_steps: int
    generator_steps: int
    warmup_epochs: int
    freeze_items: bool

    def pick(self, scores: Tensor) -> Tensor:
        """The next items, ``(C, n_items)`` -> ``(C,)``, in the way that it synthesises them."""
        if self.synthesis == "epsilon_greedy":
            return epsilon_greedy(scores, self.epsilon)
        return gumbel_top_k(scores, self.gumbel_items)


@dataclass(frozen=True)
class DataFreeSettings:
    """All that a data-free training is told besides its two models."""

    objective: str
    kl_temperature: float
    candidates_above: int
    candidates: Candidates
    sampling: SamplingSettings
    n_sequences: int
    pool_epochs: int
    n_valid: int
    epochs: int
    batch_size: int
    learning_rate: float
    grid_rate: float
    betas: tuple[float, float]
    schedule: str
    milestones: tuple[int, ...]
    stopping_step: int
    discrepancy: Discrepancy
    game: Game

    @property
    def picked_sampling(self) -> SamplingSettings:
        """Of sequences that a generator picks: after any first item, at least one of its own."""
        at_least = max(2, self.sampling.min_length)
        return dataclasses.replace(self.sampling, start="uniform", min_length=at_least)

    @classmethod
    def of(cls, config: Any) -> DataFreeSettings:
        """Read a config.

        Raises:
            ConfigError: A number outside its range.
        """
        check_limits(config, _LIMITS)
        betas, milestones = tuple(config["df_betas"]), tuple(config["df_milestones"])
        if len(betas) != 2 or not all(_is_number(beta) and 0 <= beta < 1 for beta in betas):
            raise ConfigError(f"df_betas={list(betas)}: choose two numbers from 0 to below 1")
        if not all(_is_number(milestone) for milestone in milestones):
            raise ConfigError(f"df_milestones={list(milestones)}: choose numbers of passes")
        return cls(
            objective=config["df_objective"],
            kl_temperature=config["df_kl_temperature"],
            candidates_above=config["df_candidates_above"],
            candidates=Candidates(config["df_top_candidates"], config["df_tail_candidates"]),
            sampling=SamplingSettings(
                temperature=config["df_temperature"],
                start=config["df_start_items"],
                min_length=config["df_min_length"],
                lengths=config["df_lengths"],
                repeats=config["df_repeats"],
            ),
            n_sequences=config["df_sequences"],
            pool_epochs=config["df_pool_epochs"],
            n_valid=config["df_valid_sequences"],
            epochs=config["df_epochs"],
            batch_size=config["df_batch_size"],
            learning_rate=config["df_learning_rate"],
            # Shares of a step are for weights that are nearly right already.
            grid_rate=config["df_grid_rate"] if config["df_start"] == "teacher" else 0.0,
            betas=(betas[0], betas[1]),
            schedule=config["df_schedule"],
            milestones=milestones,
            stopping_step=config["df_stopping_step"],
            discrepancy=Discrepancy(
                negative=config["df_negative_weight"],
                ranking=config["df_ranking_weight"],
                similarity=config["df_similarity_weight"],
                ranking_items=config["df_ranking_items"],
                ranking_stride=config["df_ranking_stride"],
                similarity_items=config["df_similarity_items"],
            ),
            game=Game(
                synthesis=config["df_synthesis"],
                epsilon=config["df_epsilon"],
                gumbel_items=config["df_gumbel_items"],
                gumbel_temperature=config["df_gumbel_temperature"],
                learning_rate=config["df_generator_learning_rate"],
                student_steps=config["df_student_steps"],
                generator_steps=config["df_generator_steps"],
                warmup_epochs=config["df_warmup_epochs"],
                freeze_items=config["df_freeze_generator_items"],
            ),
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
