"""``--resume=PATH`` needs no other argument: the checkpoint knows its own settings."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from recbole_compress.arguments import read_command_line
from recbole_compress.config.data_settings import PICKLES
from recbole_compress.config.given import all_config_files, with_config_files
from recbole_compress.config.model_names import class_name, importing_nothing
from recbole_compress.distributed.place import started_by_torchrun
from recbole_compress.distributed.settings import KEYS_OF_A_LAUNCH
from recbole_compress.trainers.checkpoint import load_checkpoint

__all__ = ["given_to", "is_a_first_phases", "settings_of"]


def settings_of(
    config_files: Sequence[str | PathLike] | str | None,
    config_dict: dict[str, Any] | None,
    command_line: list[str] | None,
) -> dict[str, Any]:
    """What the user had given to the run that is to be resumed; empty when nothing is resumed.

    Config files of now are stronger than that, so what they say is in it as well.

    Raises:
        CheckpointError: The checkpoint is missing, damaged or not to be trusted.
        ConfigError: A config file cannot be used.
    """
    now = [config_dict or {}, read_command_line(command_line or [])]
    path = now[1].get("resume", now[0].get("resume"))
    if not path:
        return {}
    config = load_checkpoint(str(path))["config"]
    given = given_to(config)
    if is_a_first_phases(config):  # what to go on with is the run that this is a phase of
        run = config["part_of"]
        given = {**_relaunched(run), "model": class_name(run["model"]), "dataset": run["dataset"]}
    files = all_config_files(config_files, *now)
    return {**given, **with_config_files({"config_files": files})}


def is_a_first_phases(config: Any) -> bool:
    """Whether a checkpoint's config is that of a model trained first, in another one's run."""
    return bool(config["part_of"])


def given_to(config: Any) -> dict[str, Any]:
    """The settings that make a checkpoint's config again."""
    return {
        **_relaunched(config.external_config_dict),
        "model": class_name(config["model"]),
        "dataset": config["dataset"],
    }


def _relaunched(settings: dict[str, Any]) -> dict[str, Any]:
    given = importing_nothing(settings)
    given.pop("config_files", None)  # what the files said is in there already
    # As many processes as before, but not where they were; torchrun says both itself.
    if started_by_torchrun() or "world_size" in given:
        given.pop("nproc", None)
    for key in (*KEYS_OF_A_LAUNCH, *PICKLES):  # older runs took the latter and did nothing
        given.pop(key, None)
    return given
