"""A trained recommender that goes on with another catalogue to recommend from."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from recbole_compress.errors import ConfigError
from recbole_compress.models.changed_config import ChangedConfig
from recbole_compress.models.choices import Assembly
from recbole_compress.models.compressed_recommender import CompressedRecommender

__all__ = ["freeze_all_but_adapters", "give_new_catalogue"]


def give_new_catalogue(
    model: CompressedRecommender, config: Any, target_counts: Tensor
) -> CompressedRecommender:
    """Let ``model`` read the items it knows and score those of another catalogue.

    Its head goes, and a new one of random weights takes its place; everything before stays.

    Args:
        model: Changed.
        config: Its config; ``target_head`` names the new head.
        target_counts: How often the target's train split shows every item of the new catalogue,
            ``(n_items,)``, id 0 is padding.

    Returns:
        ``model``.

    Raises:
        ConfigError: A head that there is not.
    """
    changed = {"item_head": config["target_head"]}
    if config["target_block_cutoffs"] is not None:
        changed["item_block_cutoffs"] = config["target_block_cutoffs"]
    assembly = Assembly(ChangedConfig(config, changed), target_counts)
    model.item_head = assembly.item_head
    model.keys_of_choices |= assembly.keys_read
    model.n_items = len(target_counts)
    model.one_catalogue = False
    model.choices["item_head"] = config["target_head"]
    return model


def freeze_all_but_adapters(model: CompressedRecommender, adapter_size: int) -> None:
    """Give the backbone adapters; they, the layer norms and the head stay trainable alone.

    Raises:
        ConfigError: A backbone that has no place for adapters.
    """
    model.requires_grad_(False)
    try:
        model.backbone.add_adapters(adapter_size)
    except ValueError as error:
        raise ConfigError(f"fine_tune=adapters: {error}") from error
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.requires_grad_(True)
    model.item_head.requires_grad_(True)
