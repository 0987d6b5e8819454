"""Fine-tuning a pre-trained model on the items of another data set."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_compress.data.loaders import split_of
from recbole_compress.data.transfer_dataset import (
    CANDIDATES_FIELD,
    POSITIONS_FIELD,
    TARGETS_FIELD,
)
from recbole_compress.errors import CheckpointError, DataError
from recbole_compress.models.transfer import freeze_all_but_adapters, give_new_catalogue
from recbole_compress.trainers.checkpoint import item_map_fingerprint, knows_other_items
from recbole_compress.trainers.compress_trainer import CompressTrainer
from recbole_compress.trainers.transfer_settings import TransferSettings, refuse_unread_eval_args

__all__ = ["TransferTrainer", "sampled_binary_cross_entropy"]

HEAD = "item_head."


class TransferTrainer(CompressTrainer):
    """PeterRec's protocol: source sequence -> pre-trained encoder -> new table of target items.

    Trains all weights, or adapters with layer norms and the new table alone. Ranks every target in
    full, as any run does, and against a few sampled items.

    Reference:
        Yuan et al., "Parameter-Efficient Transfer from Sequential Behaviors for User Modeling and
        Recommendation", SIGIR 2020; CpRec's Table 6 follows it. Differs: no decay of its own on
        the new table (``weight_decay`` is there), sampled items are distinct, epochs are chosen on
        a validation split.
    """

    recipe = "transfer"
    needs_source = True

    @classmethod
    def check_settings(cls, config):
        super().check_settings(config)
        TransferSettings.of(config)
        refuse_unread_eval_args(config)

    @classmethod
    def choices(cls, config):
        keys = ("pretrain", "fine_tune", "transfer_loss", "source_history", "target_split")
        return {key: config[key] for key in keys}

    @classmethod
    def build_model(cls, config, train_split):
        source, settings = train_split.source, TransferSettings.of(config)
        n_items = int(train_split.item_num) - 1  # without padding
        if settings.loss == "binary_cross_entropy" and n_items < 2:
            raise DataError(
                f"dataset={config['dataset']}: {n_items} target item, and binary_cross_entropy "
                "needs another one to compare it with; take a target of two items or more"
            )
        model = config.model_class(config, source)
        give_new_catalogue(model, config, train_split.item_counts())
        if settings.only_adapters:
            freeze_all_but_adapters(model, settings.adapter_size)
        return model

    def __init__(self, config, model):
        self.settings = TransferSettings.of(config)
        self.source_fingerprint: str | None = None
        self._against_sampled = False
        super().__init__(config, model)

    def _build_optimizer(self, **kwargs):
        trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        return super()._build_optimizer(**{"params": trained, **kwargs})

    def learn_from(self, state: dict[str, Any], train_split: Any) -> None:
        """Take over everything but the head of a pre-trained model.

        Args:
            state: Its checkpoint.
            train_split: The target's.

        Raises:
            CheckpointError: Of a model of another shape.
        """
        weights = {k: v for k, v in state["state_dict"].items() if not k.startswith(HEAD)}
        ours = self.model.state_dict()
        new = [k for k in ours if k.startswith(HEAD) or ".adapters." in k]
        try:
            self.model.load_state_dict({**{k: ours[k] for k in new}, **weights})
        except RuntimeError as error:
            reason = " ".join(line.strip() for line in str(error).splitlines()[1:2])
            raise CheckpointError(
                f"pretrained={self.config['pretrained']}: does not fit this model ({reason}); use "
                "the settings it was trained with"
            ) from error

    def fit(self, train_data, *args, **kwargs):
        self.source_fingerprint = item_map_fingerprint(split_of(train_data).source)
        return super().fit(train_data, *args, **kwargs)

    def _catalogue_of(self, dataset):
        source = {"n_source_items": int(dataset.source.item_num)}
        return {**super()._catalogue_of(dataset), **source}

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        return super()._train_epoch(
            train_data, epoch_idx, loss_func or self.transfer_loss, show_progress
        )

    def transfer_loss(self, interaction) -> Tensor:
        """The chosen loss of the targets of a batch, from the states they are predicted from."""
        hidden, targets = self._states_and_targets(interaction)
        head = self.model.item_head
        if self.settings.loss == "cross_entropy":
            return head.loss(hidden, targets)
        return sampled_binary_cross_entropy(head, hidden, targets)

    def _states_and_targets(self, interaction) -> tuple[Tensor, Tensor]:
        model = self.model
        item_seq, lengths = interaction[model.ITEM_SEQ], interaction[model.ITEM_SEQ_LEN]
        if TARGETS_FIELD not in interaction:
            return model.forward(item_seq, lengths), interaction[model.ITEM_ID]
        targets = interaction[TARGETS_FIELD]
        row, column = targets.nonzero(as_tuple=True)
        positions = interaction[POSITIONS_FIELD][row, column]
        return model.hidden_states(item_seq, lengths)[row, positions], targets[row, column]

    # -- evaluation --------------------------------------------------------------------------

    def further_results(self, valid_data, test_data, load_best_model):
        if not self.settings.sampled_candidates:
            return {}
        self._against_sampled = True
        try:
            return {
                f"{name}_sampled": self.evaluate(data, load_best_model=load_best_model)
                for name, data in (("valid", valid_data), ("test", test_data))
            }
        finally:
            self._against_sampled = False

    def _full_sort_batch_eval(self, batched_data):
        if not self._against_sampled:
            return super()._full_sort_batch_eval(batched_data)
        interaction, _, positive_u, positive_i = batched_data
        batch = interaction.to(self.device)
        scores = self.model.full_sort_predict(batch)
        ranked = torch.cat(
            [batch[CANDIDATES_FIELD].long(), batch[self.config["ITEM_ID_FIELD"]][:, None]], 1
        )
        # All others out of the ranking: what RecBole's evaluators then see is 1 + n items.
        only = torch.full_like(scores, -torch.inf).scatter(1, ranked, scores.gather(1, ranked))
        return interaction, only, positive_u, positive_i

    # -- checkpoints -------------------------------------------------------------------------

    def _more_state(self):
        return {"source_item_map_sha256": self.source_fingerprint}

    def _load_more_state(self, state, path):
        noted = state.get("source_item_map_sha256")
        if knows_other_items(noted, self.source_fingerprint, unknown=True):
            raise CheckpointError(
                f"{path}: made for the items of another source than "
                f"{self.config['source_dataset']!r} as loaded here; use the same files and filters"
            )


def sampled_binary_cross_entropy(head, hidden: Tensor, targets: Tensor) -> Tensor:
    """Mean of ``-log s(positive) - log(1 - s(negative))``, one uniform negative per target.

    Args:
        head: Scores ids: ``head(hidden, ids) -> (N,)``; ``num_embeddings`` is the catalogue's size
            with the padding id 0.
        hidden: ``(N, dim)``.
        targets: ``(N,)``, ids from 1 on; a negative is any other real id.

    Returns:
        Scalar; 0 for no targets.
    """
    if len(targets) == 0:
        return hidden.sum() * 0.0
    negatives = torch.randint_like(targets, 1, head.num_embeddings - 1)
    negatives = negatives + (negatives >= targets).long()
    return (F.softplus(-head(hidden, targets)) + F.softplus(head(hidden, negatives))).mean()
