"""What evaluation asks of the splits, and how many rows of them a batch of it may take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_compress.errors import ConfigError

__all__ = ["check_evaluation", "eval_batch_size"]

# Of an evaluation batch's scores on a CPU.
_SCORE_BYTES = 2**24


def check_evaluation(config: Any, splits: Mapping[str, Any], logger: Any) -> None:
    """Refuse rows that cannot be evaluated as asked for, and warn of those that are not told apart.

    Args:
        config: Of the run.
        splits: The data sets of ``valid`` and ``test``.
        logger: Gets the warnings.

    Raises:
        ConfigError: Labels are asked for where the rows have none.
    """
    for phase, split in splits.items():
        mode = config["eval_args"]["mode"][phase]
        if mode == "labeled":
            _need_labels(phase, split)
        elif mode != "full":
            _warn_of_shared_lists(phase, mode, split, logger)


def eval_batch_size(config: Any, n_items: int) -> int:
    """``eval_batch_size``, or fewer so that the scores of one batch fit ``eval_score_bytes``.

    Args:
        config: Of the run.
        n_items: Scores per row, the padding's among them.
    """
    wanted = config["eval_batch_size"]
    budget = config["eval_score_bytes"]
    if budget is None:  # on a CPU what is near its cache, on a GPU what keeps it busy
        budget = _SCORE_BYTES if config["device"].type == "cpu" else 16 * _SCORE_BYTES
    if not budget or not wanted:
        return wanted
    return min(wanted, max(1, int(budget) // (4 * n_items)) * _examples_per_row(config))


def _examples_per_row(config: Any) -> int:
    """How many of ``eval_batch_size`` a row of scores takes: the target and its samples.

    One size serves both phases, so it is what the phase with fewer takes.
    """
    drawn = [config[f"{phase}_neg_sample_args"]["sample_num"] for phase in ("valid", "test")]
    return 1 + min(0 if samples == "none" else samples for samples in drawn)


def _need_labels(phase: str, split: Any) -> None:
    if split.label_field not in split.inter_feat:
        raise ConfigError(
            f"eval_args mode='labeled': the {phase} split has no column {split.label_field!r} "
            "(LABEL_FIELD); add it to load_col, make one with threshold={column: least value "
            "of a 1} of a loaded column, or choose mode full"
        )


def _warn_of_shared_lists(phase: str, mode: str, split: Any, logger: Any) -> None:
    """RecBole ranks what it samples per user, not per row."""
    users = split.inter_feat[split.uid_field]
    n_users = len(users.unique())
    if n_users < len(users):
        logger.warning(
            f"eval_args mode={mode!r}: the {phase} split has {len(users)} rows of {n_users} users, "
            "and RecBole ranks all targets of a user in one list; leave one out "
            "(split: {LS: valid_and_test}) or choose mode full to rank each by itself"
        )
