"""What every run of two phases has in common: a model trained first, in a run of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from recbole_compress.config import Config
from recbole_compress.distributed.group import from_first
from recbole_compress.distributed.settings import KEYS_OF_A_LAUNCH
from recbole_compress.errors import ConfigError
from recbole_compress.quick_start.resumption import given_to, is_a_first_phases
from recbole_compress.trainers.checkpoint import load_checkpoint

__all__ = [
    "OF_THE_RUN",
    "first_phase_config",
    "run_first_phase",
    "settings_of_checkpoint",
    "wanted_settings",
]

# Of the second phase's run alone.
OF_THE_RUN = {
    *("model", "dataset", "resume", "checkpoint_dir", "card_path", "ranks_path", "config_files"),
    *("recipe", "part_of"),
}
# Of this launch rather than of the run that made the checkpoint.
_OF_A_LAUNCH = ("nproc", *KEYS_OF_A_LAUNCH, "use_gpu", "gpu_id", "threads", "state")


def wanted_settings(config: Config, key: str) -> dict[str, Any]:
    """What ``config[key]`` says of the first phase.

    Raises:
        ConfigError: A name in it that is no text.
    """
    wanted = dict(config[key] or {})
    for name in wanted:
        if not isinstance(name, str):
            raise ConfigError(
                f"{key}={wanted}: {name!r} is no name of a setting; expected "
                "{NAME: VALUE}, such as {epochs: 5}"
            )
    return wanted


def first_phase_config(
    config: Config, model: str, dataset: str, settings: dict[str, Any], folder: str, resume: Any
) -> Config:
    """The settings of the first phase in the run of ``config``; its checkpoint notes the run.

    Args:
        config: Of the run.
        model: Name of the model that is trained first.
        dataset: Name of its data set.
        settings: Its own settings.
        folder: Where its checkpoints go, inside the run's.
        resume: Its checkpoint to go on from, or None.

    Raises:
        ConfigError: Settings that it does not know.
    """
    run = {"model": config["model"], "dataset": config["dataset"], "resume": None}
    own = {
        "resume": resume,
        "checkpoint_dir": os.path.join(config["checkpoint_dir"], folder),
        "part_of": {**config.external_config_dict, **run},
    }
    return Config(model, dataset, config_dict={**settings, **own})


def run_first_phase(
    config: Config,
    path_key: str,
    settings_key: str,
    make: Callable[[Config, str | None], Config],
    train: Callable[[Config], dict[str, Any]],
) -> str | None:
    """See to it that ``config[path_key]`` is the checkpoint of a finished first phase.

    A resumed run goes on in the phase that its checkpoint is of.

    Args:
        config: Of the run; changed.
        path_key: The key that names the checkpoint.
        settings_key: The key that says what the first phase has otherwise; goes once it is over.
        make: From the run's config, and a checkpoint to go on from, to the first phase's.
        train: Trains what a config says and returns the result, with its ``checkpoint``.

    Returns:
        The checkpoint, where this run made it or went on with it.
    """
    resume = config["resume"]
    if resume and from_first(lambda: is_a_first_phases(load_checkpoint(resume)["config"])):
        path = train(make(config, resume))["checkpoint"]
        resume = None
    elif config[path_key] is None:
        path = train(make(config, None))["checkpoint"]
    else:
        return None
    # The second phase's checkpoint is to know the first one's.
    for settings in (config.final_config_dict, config.external_config_dict):
        settings.update({path_key: path, settings_key: None, "resume": resume})
    return path


def settings_of_checkpoint(state: dict[str, Any], config: Config) -> dict[str, Any]:
    """The settings that make a checkpoint's config again, launched as the run of ``config`` is."""
    not_its_own = {*_OF_A_LAUNCH, "resume", "part_of"}
    settings = {k: v for k, v in given_to(state["config"]).items() if k not in not_its_own}
    given = config.external_config_dict
    return settings | {key: given[key] for key in _OF_A_LAUNCH if key in given}
