"""Settings of choices that were not taken."""

from __future__ import annotations

from typing import Any

from recbole_compress.config.keys_read import keys_read_everywhere, keys_read_in, source_of
from recbole_compress.models import choices

__all__ = ["keys_of_some_choice", "warn_of_unread_settings"]


def keys_of_some_choice() -> frozenset[str]:
    """Keys that a model reads for one of its choices and leaves alone for another.

    Example:
        >>> "tt_ratio" in keys_of_some_choice(), "learning_rate" in keys_of_some_choice()
        (True, False)
    """
    # One that a backbone reads and every data set too, such as the longest sequence, is never idle.
    return keys_read_in(source_of(choices)) - keys_read_everywhere()


def warn_of_unread_settings(config: Any, network: Any, logger: Any) -> None:
    """Say which of the keys given are another choice's, such as ``tt_ratio`` of a dense table.

    Args:
        config: Of the run.
        network: A model of this package; others are left alone.
        logger: Gets one warning per key.
    """
    read = getattr(network, "keys_of_choices", None)
    if read is None:
        return
    given = config.external_config_dict
    for key in sorted((keys_of_some_choice() & set(given)) - read):
        chosen = ", ".join(f"{axis}={name}" for axis, name in network.choices.items())
        logger.warning(f"{key}={given[key]} is not read by these choices: {chosen}")
