"""The trainer of this package's models."""

from __future__ import annotations

import torch
from recbole.trainer import Trainer

from recbole_compress.data.loaders import training_loader
from recbole_compress.errors import ConfigError
from recbole_compress.trainers.clipping import clip_before_steps
from recbole_compress.trainers.collector import TopItems
from recbole_compress.trainers.history import topk_without_history
from recbole_compress.trainers.safe_trainer import SafeTrainer

__all__ = ["CompressTrainer"]

FUSED = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class CompressTrainer(SafeTrainer, Trainer):
    """RecBole's ``Trainer`` on batches of similar length, with one-pass optimizer steps.

    Attributes:
        recipe: The value of the key ``recipe`` that this class carries out.

    Raises:
        ConfigError: The config asks for another recipe, which RecBole's own functions cannot know.
    """

    recipe = "cross_entropy"

    @staticmethod
    def for_others(model: str) -> str:
        """Hint for the error message when this recipe cannot train ``model``."""
        return ""

    def __init__(self, config, model):
        if (config["recipe"] or "cross_entropy") != self.recipe:
            raise ConfigError(
                f"recipe={config['recipe']}: RecBole's own functions train with cross_entropy "
                "only; use recbole-compress or run_recbole_compress"
            )
        super().__init__(config, model)
        self._clip(self.model.parameters())

    def _clip(self, stepped):
        """All that the optimizer steps by one norm; RecBole's loop has nothing left to clip."""
        self.clip_grad_norm = None
        if how := self.config["clip_grad_norm"]:
            clip_before_steps(self.optimizer, stepped, how)

    def fit(self, train_data, *args, **kwargs):
        generator = torch.Generator().manual_seed(self.config["seed"])
        loader = training_loader(train_data, self.config, generator)
        return super().fit(loader, *args, **kwargs)

    def _build_optimizer(self, **kwargs):
        # A step over a large table is bound by memory traffic: fused reads every number once.
        kind = FUSED.get(str(kwargs.get("learner", self.learner)).lower())
        if kind is None:
            return super()._build_optimizer(**kwargs)
        return kind(
            kwargs.get("params", self.model.parameters()),
            lr=kwargs.get("learning_rate", self.learning_rate),
            weight_decay=kwargs.get("weight_decay", self.weight_decay),
            fused=True,
        )

    def _full_sort_batch_eval(self, batched_data):
        interaction, history_index, positive_u, positive_i = batched_data
        if history_index is not None or not self.eval_collector.needs_topk_only():
            return super()._full_sort_batch_eval(batched_data)
        # The head knows its best items without scoring the whole catalogue.
        k = max(self.config["topk"])
        batch = interaction.to(self.device)
        if self.config["exclude_history"]:
            ids = topk_without_history(
                lambda number: self.model.topk(batch, number)[1],
                batch[self.item_seq_field],
                k,
                self.tot_item_num,
            )
        else:
            _, ids = self.model.topk(batch, k)
        return interaction, TopItems(ids, self.tot_item_num), positive_u, positive_i
