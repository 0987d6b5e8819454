"""Errors that are the user's to mend: one clear line each, naming value, expectation and remedy."""

import contextlib
from collections.abc import Iterator

__all__ = [
    "ArtifactError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "ExportError",
    "QuantizationError",
    "RecBoleCompressError",
    "TrainingError",
    "UnknownKeyError",
    "WrongValueError",
    "first_line",
    "in_one_line",
    "needs_extra",
]


class RecBoleCompressError(ValueError):
    """Base of all errors that the command line prints as one line, without a traceback."""


class ConfigError(RecBoleCompressError):
    """A key, a value or a combination of values that cannot be used."""


class UnknownKeyError(ConfigError):
    """A key that nobody reads.

    Args:
        message: As of every error.
        key: The key.
        hint: What it may have been meant to be, for whoever says the rest in other words.
    """

    def __init__(self, message: str, key: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.hint = hint


class WrongValueError(ConfigError):
    """A value that its key cannot have.

    Args:
        message: As of every error.
        key: The key.
        expected: What it can have, for whoever says the rest in other words.
    """

    def __init__(self, message: str, key: str = "", expected: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.expected = expected


class DataError(RecBoleCompressError):
    """A data set that is missing, damaged or does not fit."""


class CheckpointError(RecBoleCompressError):
    """A checkpoint that cannot be written, read, trusted or used here."""


class TrainingError(RecBoleCompressError):
    """Training that cannot go on, such as a loss that is not a number."""


class QuantizationError(RecBoleCompressError):
    """Numbers or settings that do not go with integers of a few bits."""


class ExportError(RecBoleCompressError):
    """A model that cannot be put into a file, or a file that does not say what the model says."""


class ArtifactError(RecBoleCompressError):
    """An exported file that cannot be read or used here, or a request that it cannot answer."""


def first_line(error: BaseException) -> str:
    """What an error says, of several lines the first; its kind where it says nothing.

    Example:
        >>> first_line(OSError("no space left\\nin 3 folders")), first_line(EOFError())
        ('no space left', 'EOFError')
    """
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def in_one_line(
    saying: str,
    kinds: tuple[type[Exception], ...],
    error: type[RecBoleCompressError] = ConfigError,
) -> Iterator[None]:
    """Around RecBole's code: what it complains of, as an error that is printed as one line.

    Args:
        saying: Goes before RecBole's own words.
        kinds: Exceptions that it raises for settings and files it cannot use.
        error: Which error to raise.

    Raises:
        RecBoleCompressError: RecBole raised one of ``kinds``.

    Example:
        >>> with in_one_line("dataset=mine", (KeyError,)):
        ...     raise KeyError("price")
        Traceback (most recent call last):
            ...
        recbole_compress.errors.ConfigError: dataset=mine: there is no 'price'
    """
    try:
        yield
    except RecBoleCompressError:
        raise
    except kinds as complaint:
        words = str(complaint)
        if isinstance(complaint, KeyError):
            words = f"there is no {str(complaint.args[0])!r}"
        raise error(f"{saying}: {words}") from complaint


@contextlib.contextmanager
def needs_extra(
    extra: str, error: type[RecBoleCompressError] = RecBoleCompressError
) -> Iterator[None]:
    """Around imports of what comes with one of this package's extras only.

    Args:
        extra: Its name in ``setup.cfg``.
        error: Which error to raise.

    Raises:
        RecBoleCompressError: A module is missing; says which, and what to install.

    Example:
        >>> with needs_extra("runtime"):
        ...     import a_runtime_that_is_not_there
        Traceback (most recent call last):
            ...
        recbole_compress.errors.RecBoleCompressError: a_runtime_that_is_not_there is missing: pip
        install 'recbole-compress[runtime]'
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        raise error(
            f"{missing.name} is missing: pip install 'recbole-compress[{extra}]'"
        ) from missing
