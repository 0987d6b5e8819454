"""Settings as they travel with an exported file: what is true of its model on any machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_compress.config.model_names import importing_nothing
from recbole_compress.distributed.settings import KEYS_OF_A_LAUNCH
from recbole_compress.quick_start.from_checkpoint import OF_ITS_RUN

__all__ = ["portable"]

# Nobody else has them; and a file of unknown origin must not say what is read or overwritten.
_PLACES = (
    *("data_path", "checkpoint_dir", "config_files"),
    *("teacher_path", "pretrained", "full_precision_path"),
    *("dataset_save_path", "dataloaders_save_path", "save_dataset", "save_dataloaders"),
    *("log_wandb", "wandb_project"),
)
_LEFT_OUT = frozenset((*_PLACES, *OF_ITS_RUN, *KEYS_OF_A_LAUNCH))


def portable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those that name a place or a module, or belong to one run.

    Example:
        >>> portable({"embedding_size": 64, "data_path": "/mine", "ranks_path": "ranks.npz"})
        {'embedding_size': 64}
    """
    kept = {key: value for key, value in settings.items() if key not in _LEFT_OUT}
    return importing_nothing(kept)
