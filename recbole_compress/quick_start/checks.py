"""What a run refuses before anything is trained, for whoever wants to ask before there is a run."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from recbole_compress.config import Config
from recbole_compress.errors import ConfigError
from recbole_compress.files import check_writable
from recbole_compress.quick_start.data_free import check_data_free
from recbole_compress.quick_start.host_models import trainer_class
from recbole_compress.quick_start.pretraining import check_pretraining
from recbole_compress.quick_start.teacher import check_teacher
from recbole_compress.trainers.ranks import refuse_ranks

__all__ = ["check_run", "refuse_missing_features"]


# A key of RecBole's models that read what items have; none of ours.
_FEATURES = "selected_features"


def check_run(config: Config, unmade: Collection[str] = ()) -> None:
    """Refuse what a run could not carry out, although every single setting is possible.

    Args:
        config: Of the run; not changed.
        unmade: Keys whose checkpoint is not there yet: what they say is for messages.

    Raises:
        RecBoleCompressError: In one line.
    """
    for key in ("card_path", "ranks_path"):
        if config[key]:
            check_writable(config[key], key)
    if config["ranks_path"]:
        refuse_ranks(config)
    trainer = trainer_class(config)
    # Only a checkpoint that is wanted would be opened; one that is not is refused by its name.
    wanted = {
        "teacher_path": trainer.needs_teacher and config["teacher"] is None,
        "pretrained": trainer.needs_source and config["pretrain"] and config["pretraining"] is None,
        "full_precision_path": config["data_free_quantization"],
    }
    awaited = {key for key in unmade if wanted.get(key)}
    if "teacher_path" in awaited:
        trainer.check_settings(config)
    else:
        check_teacher(config)
    if "pretrained" not in awaited:
        check_pretraining(config)
    its_model_awaited = "full_precision_path" in awaited
    if its_model_awaited:
        config = config.with_values(full_precision_path=None)
    check_data_free(config, trains_here=not its_model_awaited)


def refuse_missing_features(config: Config, split: Any) -> None:
    """Refuse features (``selected_features``) that the items of a data set do not have.

    RecBole's models with features would fail in their first step.

    Raises:
        ConfigError: Names the feature and those that there are.
    """
    loaded = [] if split.item_feat is None else list(split.item_feat.columns)
    for feature in config[_FEATURES] or []:
        if feature not in loaded:
            raise ConfigError(
                f"{_FEATURES}={config[_FEATURES]}: {feature!r} is no loaded column "
                f"of the items ({', '.join(loaded) or 'none is loaded'}); choose one, or load it "
                "with load_col: {item: [...]}"
            )
