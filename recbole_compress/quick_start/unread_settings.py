"""Settings that were given and that nothing reads in this run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recbole_compress.config.data_settings import FILTERS
from recbole_compress.config.keys_read import keys_read_everywhere, keys_read_in, source_of
from recbole_compress.models import choices
from recbole_compress.quick_start.host_models import trainer_class

__all__ = ["keys_of_some_choice", "warn_of_unread_settings"]

# How RecBole divides one file of interactions.
_OF_THE_SPLIT = ("split", "group_by", "order")


def keys_of_some_choice() -> frozenset[str]:
    """Keys that a model reads for one of its choices and leaves alone for another.

    Example:
        >>> "tt_ratio" in keys_of_some_choice(), "learning_rate" in keys_of_some_choice()
        (True, False)
    """
    # One that a backbone reads and every data set too, such as the longest sequence, is never idle.
    return keys_read_in(source_of(choices)) - keys_read_everywhere()


def warn_of_unread_settings(config: Any, network: Any, logger: Any) -> None:
    """Say which of the keys given are without effect: one warning each.

    Args:
        config: Of the run.
        network: Its model; what only models of RecBole read is asked of those of this package.
        logger: Gets the warnings.
    """
    for line in (
        *_of_the_data(config),
        *_of_the_metric(config),
        *_of_the_recipe(config),
        *_of_other_choices(config, network),
    ):
        logger.warning(line)


def _of_the_data(config: Any) -> Iterator[str]:
    """Split files are taken as they are."""
    given = config.external_config_dict
    if not config["benchmark_filename"]:
        return
    divided = given.get("eval_args") or {}
    unread = [
        *(f"{key}={given[key]}" for key in FILTERS if given.get(key)),
        *(f"eval_args {key}={divided[key]}" for key in _OF_THE_SPLIT if key in divided),
    ]
    for setting in unread:
        yield (
            f"{setting} is not read: dataset={config['dataset']} comes in split files, which are "
            "taken as they are; --split_files=never takes all interactions from its .inter file"
        )


def _of_the_metric(config: Any) -> Iterator[str]:
    key = "valid_metric_bigger"  # RecBole asks the metric itself
    given = config.external_config_dict.get(key)
    if given is not None and bool(given) != bool(config[key]):
        yield f"{key}={given} is not read: {config['valid_metric']} is better {_way(config[key])}"


def _way(bigger: bool) -> str:
    return "the larger it is" if bigger else "the smaller it is"


def _of_the_recipe(config: Any) -> Iterator[str]:
    if trainer_class(config).needs_teacher:
        return
    for key, value in sorted(_changed(config).items()):
        if key.startswith("kd_"):
            yield (
                f"{key}={value} is not read: recipe={config['recipe']} has no teacher; "
                "--recipe=distillation has one"
            )


def _changed(config: Any) -> dict[str, Any]:
    """What was given and is not the default anyway.

    A form that was taken over from a checkpoint is given, too, in every key that it has.
    """
    given, defaults = config.external_config_dict, config.internal_config_dict
    return {key: value for key, value in given.items() if value != defaults.get(key)}


def _of_other_choices(config: Any, network: Any) -> Iterator[str]:
    """Such as ``tt_ratio`` of a dense table; models of RecBole have no choices."""
    read = getattr(network, "keys_of_choices", None)
    if read is None:
        return
    given = _changed(config)
    if given.get("transform"):
        yield f"transform={given['transform']} is not read: only models of RecBole do"
    for key in sorted((keys_of_some_choice() & set(given)) - read):
        chosen = ", ".join(f"{axis}={name}" for axis, name in network.choices.items())
        yield f"{key}={given[key]} is not read by these choices: {chosen}"
