"""Whether a run will have a validation score, as far as its settings tell."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from recbole_compress.errors import ConfigError

__all__ = ["check_validated"]


def check_validated(config: Any, undecided: Collection[str] = ()) -> None:
    """Refuse settings after which no model can be called better than another.

    Args:
        config: Of the run.
        undecided: Keys whose value here is not the one that will hold.

    Raises:
        ConfigError: Nothing would be validated; names the setting that is to blame.

    Example:
        >>> run = {"eval_args": {"split": {"LS": "valid_only"}}, "benchmark_filename": None,
        ...        "data_free_quantization": False, "epochs": 3, "eval_step": 0}
        >>> check_validated(run, undecided=["eval_step"])
        >>> check_validated(run)
        Traceback (most recent call last):
            ...
        recbole_compress.errors.ConfigError: eval_step=0: nothing is validated, and without a \
validation score no settings are better than others; choose 1 or more
    """
    why = "nothing is validated, and without a validation score no settings are better than others"
    split = config["eval_args"].get("split", {})
    left_out, shares = split.get("LS"), split.get("RS")
    # Split files say themselves which rows are for validation.
    if not config["benchmark_filename"] and (left_out == "test_only" or (shares and not shares[1])):
        raise ConfigError(
            f"eval_args: split={split}: {why}; take {{'LS': 'valid_and_test'}} or "
            "{'RS': [0.8, 0.1, 0.1]}"
        )
    if config["data_free_quantization"]:  # validated once it is quantized, whatever came before
        return
    for key in ("epochs", "eval_step"):
        if key not in undecided and config[key] <= 0:
            raise ConfigError(f"{key}={config[key]}: {why}; choose 1 or more")
