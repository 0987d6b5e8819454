"""What a command was given: ``FILE [-o OUT] [--key=value ...]``, as texts."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from recbole_compress.errors import ConfigError, UnknownKeyError, WrongValueError
from recbole_compress.near_names import did_you_mean, near_options

__all__ = ["FileArguments", "naming_options", "read_command_line", "read_file_arguments"]

_OUTPUT = ("-o", "--output", "--out")


class FileArguments(NamedTuple):
    """What a command that works on a file was given.

    Attributes:
        path: The file.
        output: Where to write, None if that was not said.
        options: All else, by key with ``_`` for ``-``.
    """

    path: str
    output: str | None
    options: dict[str, str]


def read_file_arguments(
    arguments: Sequence[str],
    usage: str,
    known: Collection[str] | None = None,
    switches: Collection[str] = (),
) -> FileArguments:
    """Split ``FILE [-o OUT] [--some-key=value ...]``, in any order.

    Args:
        arguments: Of the command, without its name.
        usage: How it is to be used, for messages.
        known: Keys that there are, with ``_``; None for whoever reads the options to say.
        switches: Keys that may stand without a value, which is ``"True"`` then.

    Raises:
        ConfigError: No file or a second one, an argument of another form, an unknown key.

    Example:
        >>> read_file_arguments(["a.pth", "-o", "b", "--table-bits=4"], "export FILE -o OUT")
        FileArguments(path='a.pth', output='b', options={'table_bits': '4'})
    """
    files, outputs, pairs = [], [], []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        name, equals, value = argument.partition("=")
        if name in _OUTPUT:
            if not equals and not left:
                raise ConfigError(f"{argument}: names no file; write {usage}")
            outputs.append(value if equals else left.pop(0))
        elif argument.startswith("-"):
            switch = not equals and name.lstrip("-").replace("-", "_") in switches
            pairs.append(f"{argument}=True" if switch else argument)
        else:
            files.append(argument)
    if len(files) != 1:
        what = f"{files[1]}: one file at a time" if files else "no file named"
        raise ConfigError(f"{what}; write {usage}")
    if len(outputs) > 1:
        raise ConfigError(f"-o {outputs[1]}: {outputs[0]} was given already; keep one")
    options: dict[str, str] = {}
    for key, value in read_command_line(pairs).items():
        key = key.replace("-", "_")
        if known is not None and key not in known:
            raise ConfigError(f"--{key}={value}: {did_you_mean(key, known)}")
        if options.setdefault(key, value) != value:
            raise ConfigError(_twice(key, options[key], value))
    return FileArguments(files[0], outputs[0] if outputs else None, options)


@contextlib.contextmanager
def naming_options(given: Mapping[str, str], own: Collection[str] = ()) -> Iterator[None]:
    """Around what takes a command's options for settings: a wrong one is called an option.

    Args:
        given: The options.
        own: Those that the command has beside all settings.

    Raises:
        ConfigError: Of these options, one that is no setting (names those that come near), or that
            has a value which it cannot have.

    Example:
        >>> with naming_options({"bits": "4"}, own=["table_bits", "weight_bits"]):
        ...     raise UnknownKeyError("bits (config_dict): unknown key", "bits")
        Traceback (most recent call last):
            ...
        recbole_compress.errors.ConfigError: --bits=4: unknown option; did you mean --table-bits or
        --weight-bits?
    """
    try:
        yield
    except UnknownKeyError as error:
        if error.key not in given:
            raise
        near = [f"--{option.replace('_', '-')}" for option in near_options(error.key, own)]
        hint = f"did you mean {' or '.join(near)}?" if near else error.hint
        raise ConfigError(f"--{error.key}={given[error.key]}: unknown option; {hint}") from error
    except WrongValueError as error:
        if error.key not in given:
            raise
        raise ConfigError(f"--{error.key}={given[error.key]}: {error.expected}") from error


def read_command_line(arguments: Sequence[str]) -> dict[str, str]:
    """Split ``--key=value`` arguments; the values stay text.

    Raises:
        ConfigError: An argument of another form (says what to write), or one key with two values.

    Example:
        >>> read_command_line(["--model=SASRec", "--note=a=b"])
        {'model': 'SASRec', 'note': 'a=b'}
        >>> read_command_line(["--epochs", "5"])
        Traceback (most recent call last):
            ...
        recbole_compress.errors.ConfigError: --epochs 5: write --epochs=5
    """
    found: dict[str, str] = {}
    for position, argument in enumerate(arguments):
        key, equals, text = argument[2:].partition("=")
        if not argument.startswith("--") or not equals or not key or key.startswith("-"):
            raise ConfigError(_advice(argument, arguments[position + 1 :]))
        if found.setdefault(key, text) != text:
            raise ConfigError(_twice(key, found[key], text))
    return found


def _twice(key: str, one: str, other: str) -> str:
    return f"--{key} is given twice, as {one!r} and {other!r}; keep one"


# As RecBole's own script has them.
_LONG = {"m": "model", "d": "dataset"}


def _advice(argument: str, following: Sequence[str]) -> str:
    """What to write instead of an argument that is not ``--key=value``."""
    name = argument.lstrip("-–—")  # editors turn -- into a dash
    dashed = name != argument
    key, equals, text = name.partition("=")
    if dashed:
        key = _LONG.get(key, key)
    if key and equals:
        return f"{argument}: write --{key}={text}"
    if key and dashed and following and not following[0].startswith("-"):
        return f"{argument} {following[0]}: write --{key}={following[0]}"
    if key and dashed:
        return f"{argument}: a value is missing, write --{key}=VALUE"
    return f"{argument}: not of the form --key=value, for instance --epochs=5"
