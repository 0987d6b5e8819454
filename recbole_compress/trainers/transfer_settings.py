"""The keys of the transfer recipe, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recbole_compress.errors import ConfigError
from recbole_compress.limits import Limit, check_limits
from recbole_compress.models.choices import LOG_PROB_HEADS

__all__ = ["TransferSettings", "refuse_unread_eval_args"]

_LIMITS = {"adapter_size": Limit(1), "sampled_candidates": Limit(0), "split_seed": Limit(0)}


@dataclass(frozen=True)
class TransferSettings:
    """What is fine-tuned, with which loss, and what a target is ranked against."""

    loss: str
    only_adapters: bool
    adapter_size: int
    sampled_candidates: int

    @classmethod
    def of(cls, config: Any) -> TransferSettings:
        """Read a config.

        Raises:
            ConfigError: A number outside its range, or settings that contradict each other.
        """
        check_limits(config, _LIMITS)
        arguments = config["eval_args"]
        modes = set(arguments["mode"].values())
        if modes != {"full"}:
            raise ConfigError(
                f"eval_args mode={arguments['mode']}: recipe=transfer ranks in full and against "
                "sampled items in one go; leave mode at full, and say how many with "
                "--sampled_candidates=99"
            )
        ratios = arguments["split"].get("RS") if isinstance(arguments["split"], dict) else None
        if config["target_split"] == "users" and (ratios is None or len(ratios) != 3):
            raise ConfigError(
                f"eval_args split={arguments['split']}: target_split=users needs three shares, "
                "such as split: {RS: [0.8, 0.1, 0.1]}; or take --target_split=interactions"
            )
        of_log_probs = config["target_head"] in LOG_PROB_HEADS
        if config["transfer_loss"] == "binary_cross_entropy" and of_log_probs:
            raise ConfigError(
                f"target_head={config['target_head']}: its scores are log-probabilities, which the "
                "binary cross-entropy cannot use; take --transfer_loss=cross_entropy"
            )
        if config["repeats"] != "none":
            raise ConfigError(
                f"repeats={config['repeats']}: recipe=transfer recommends items of another "
                "catalogue than those that sequences hold, so none of them is a repeat; leave "
                "repeats at none"
            )
        return cls(
            loss=config["transfer_loss"],
            only_adapters=config["fine_tune"] == "adapters",
            adapter_size=config["adapter_size"],
            sampled_candidates=config["sampled_candidates"],
        )


def refuse_unread_eval_args(config: Any) -> None:
    """Refuse an order or grouping that was given and that the split by users does not read.

    Raises:
        ConfigError: Names it.
    """
    given = config.external_config_dict.get("eval_args")  # not what a yaml file fills in
    if config["target_split"] != "users" or not isinstance(given, dict):
        return
    for key, usual in (("order", ("RO",)), ("group_by", (None, "none"))):
        value = given.get(key, usual[0])
        if value not in usual:
            raise ConfigError(
                f"eval_args {key}={value}: target_split=users deals out whole users by chance and "
                f"does not read it; leave {key} out, or take --target_split=interactions"
            )
