"""What a search varies and what it does not, both checked before the first trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_compress.config import Config
from recbole_compress.config.properties_folder import hyper_file
from recbole_compress.config.schema import load_schema
from recbole_compress.errors import ConfigError
from recbole_compress.quick_start.unread_in_search import without_unread
from recbole_compress.quick_start.validated import check_validated
from recbole_compress.tuning.arguments import as_arguments
from recbole_compress.tuning.options import Options, near_option
from recbole_compress.tuning.space import Space, read_space

__all__ = ["checked_space", "common_config"]


def common_config(fixed: Mapping[str, str], files: list[str]) -> Any:
    """What all trials have in common.

    Raises:
        ConfigError: As for a run; a key that was meant to be an option of ``tune`` is named.
    """
    try:
        return Config(config_file_list=files, command_line=as_arguments(fixed))
    except ConfigError as error:
        for key in fixed:
            option = near_option(key)
            if option and str(error).startswith(f"{key} (command line): unknown key"):
                raise ConfigError(f"--{key}: did you mean --{option}?") from error
        raise


def checked_space(
    options: Options, fixed: Mapping[str, str], files: list[str], config: Any
) -> Space:
    """The space, with every key and value in it accepted by the model's own checks.

    Raises:
        ConfigError: Names the line of the space that they do not accept.
    """
    model = config["model"]
    path = options.params_file or hyper_file(model)
    if path is None:
        raise ConfigError(
            f"model={model}: has no search space of its own; add --params_file=FILE.hyper with "
            "lines such as 'learning_rate choice [0.01,0.001]'"
        )
    schema = load_schema(model, config["dataset"], config.model_class)
    space = read_space(path).check(schema, model).without(fixed)
    if not space.dimensions:
        raise ConfigError(f"{path}: every key in it is fixed on the command line")
    searched = {dimension.key for dimension in space}
    check_validated(config, undecided=searched)
    for dimension in space:
        for value in dimension.probes():
            try:
                one = Config(
                    config_file_list=files,
                    config_dict={dimension.key: value},
                    command_line=as_arguments(fixed),
                )
                check_validated(one, undecided=searched - {dimension.key})
            except ConfigError as error:
                raise ConfigError(f"{dimension.where}: {error}") from error
    space = without_unread(config, space, of_the_user=options.params_file is not None)
    if not space.dimensions:
        raise ConfigError(f"{path}: nothing in it is read with these choices; add --params_file")
    return space
