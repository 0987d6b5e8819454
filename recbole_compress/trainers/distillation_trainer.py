"""Training a small model on the data and on what a large one says of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recbole_compress.data.item_counts import train_item_counts
from recbole_compress.distillation import (
    Recombination,
    Side,
    Views,
    hot_items,
    info_nce,
    predictive_loss,
)
from recbole_compress.errors import CheckpointError, ConfigError
from recbole_compress.models.compressed_recommender import TrainingRows
from recbole_compress.trainers.compress_trainer import CompressTrainer
from recbole_compress.trainers.distillation_settings import DistillationSettings
from recbole_compress.trainers.teacher import Scores, Teacher, as_teacher
from recbole_compress.trainers.teachers_weights import take_over_weights

__all__ = ["DistillationTrainer"]


class DistillationTrainer(CompressTrainer):
    """OD-Rec's recipe: cross-entropy, soft targets, contrastive and predictive distillation.

    The teacher and the weights that serve training only live here, outside the student: its
    checkpoint, size and card are those of the student alone. The training-only weights are kept
    in the checkpoint under a key of their own, for resumption.

    Attributes:
        teacher: Given by :meth:`learn_from`, before ``fit``.
        recombination: Maps and readouts of the recombined views; None where no loss needs them.
    """

    recipe = "distillation"
    needs_teacher = True

    @staticmethod
    def for_others(model):
        return (
            f"; where it reads item ids only, {model} can teach one: --model=TTSASRec "
            "--recipe=distillation "
            f"\"--teacher={{model: '{model}'}}\""
        )

    @classmethod
    def check_settings(cls, config):
        super().check_settings(config)
        DistillationSettings.of(config)

    def __init__(self, config, model):
        self.settings = DistillationSettings.of(config)
        self.teacher: Teacher | None = None
        self.recombination: Recombination | None = None
        super().__init__(config, model)

    def learn_from(self, model: Any, train_split: Any) -> None:
        """Take a trained model as the teacher.

        Args:
            model: One of this package's models or a sequential one of RecBole, on the same items.
            train_split: The student's train split: what is popular is counted there.
        """
        self.teacher = as_teacher(model.to(self.device))
        if self.config["kd_start"] == "teacher" and not self.config["resume"]:
            self.logger.info(take_over_weights(self.model, model))
        if self.settings.recombines:
            hot = hot_items(train_item_counts(train_split), self.settings.hot_fraction)
            self.recombination = Recombination(
                hot,
                self.model.item_embedding.embedding_dim,
                self.teacher.dim,
                contrastive=self.settings.contrastive > 0,
                predictive=self.settings.predictive > 0,
            ).to(self.device)
            trained = [*self.model.parameters(), *self.recombination.parameters()]
            self.optimizer = self._build_optimizer(params=trained)
            self._clip(trained)

    def _trained_modules(self):
        parts = [self.model] if self.recombination is None else [self.model, self.recombination]
        return nn.ModuleList(parts)

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        return super()._train_epoch(
            train_data, epoch_idx, loss_func or self.distillation_loss, show_progress
        )

    def distillation_loss(self, interaction) -> tuple[Tensor, ...]:
        """The weighted parts of the loss, which RecBole adds and logs: what is told of the items,
        by the data and by the teacher, then the tasks on recombined views that have a weight."""
        if self.teacher is None:
            raise ConfigError("recipe=distillation: no teacher; give it by learn_from before fit")
        model, settings = self.model, self.settings
        rows = model.training_rows(interaction)
        hidden = model.training_states(rows)
        if not settings.asks_the_teacher:
            return (model.item_head.loss(hidden, rows.targets),)
        teacher_scores, teacher_side = self.teacher.answer(rows, settings.recombines)
        chosen = self._chosen(hidden)
        weights = settings.soft_target, 1 - settings.soft_target
        if settings.soft_target == 0:
            told = model.item_head.loss(hidden, rows.targets)
        elif chosen is None:  # both from the same scores
            told = self._soft_targets(hidden, teacher_scores, targets=rows.targets, weights=weights)
        else:
            soft = self._soft_targets(hidden[chosen], lambda rows: teacher_scores(chosen[rows]))
            told = weights[0] * soft + weights[1] * model.item_head.loss(hidden, rows.targets)
        parts = [told]
        if teacher_side is not None:
            parts += self._self_supervised(rows, hidden, teacher_side, chosen)
        return tuple(parts)

    def _chosen(self, hidden: Tensor) -> Tensor | None:
        """The targets of which the teacher is asked in this step; None for all of them."""
        share, n = self.settings.target_share, len(hidden)
        if share == 1 or n == 0:
            return None
        some = torch.randperm(n, device=hidden.device)[: max(1, round(share * n))]
        return some.sort().values

    def _soft_targets(self, hidden: Tensor, teacher_scores: Scores, **further: Any) -> Tensor:
        settings = self.settings
        return self.model.item_head.soft_target_loss(
            hidden, teacher_scores, settings.temperature, settings.reduction, **further
        )

    def _self_supervised(
        self, rows: TrainingRows, hidden: Tensor, teacher: Side, chosen: Tensor | None
    ) -> list[Tensor]:
        assert self.recombination is not None and self.teacher is not None
        settings, model = self.settings, self.model
        vectors = hidden[:, : model.item_embedding.embedding_dim]
        student = Side(model.item_embedding(rows.item_seq), vectors)
        kept, contrastive, predictive = self.recombination(
            rows.item_seq, rows.lengths, rows.trained, student, teacher
        )
        parts = []
        if contrastive is not None:
            # Prefixes of one sequence are no opposites of each other.
            groups = None if rows.trained is None else rows.trained.nonzero()[:, 0][kept]
            alike = info_nce(
                contrastive.first,
                contrastive.second,
                settings.contrastive_temperature,
                groups,
                settings.reduction,
            )
            parts.append(settings.contrastive * alike)
        if predictive is not None:
            targets = rows.targets[kept]
            if chosen is not None:
                asked = torch.zeros_like(kept).index_fill_(0, chosen, True)[kept]
                targets, predictive = targets[asked], Views(*(view[asked] for view in predictive))
            told = predictive_loss(
                predictive, targets, model.item_head.of_vectors.loss, self.teacher.loss
            )
            parts.append(settings.predictive * told)
        return parts

    # -- checkpoints -------------------------------------------------------------------------

    def _more_state(self):
        weights = None if self.recombination is None else self.recombination.state_dict()
        return {"training_only": weights}

    def _load_more_state(self, state, path):
        if self.recombination is None:
            return
        try:
            self.recombination.load_state_dict(state.get("training_only") or {})
        except RuntimeError as error:
            raise CheckpointError(
                f"{path}: its training-only weights do not fit; resume with the teacher and the "
                "kd_ settings that it was trained with"
            ) from error
