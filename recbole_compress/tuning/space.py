"""Search spaces: RecBole's ``.hyper`` files, read strictly and without evaluating anything.

One key per line, ``#`` begins a comment::

    learning_rate     loguniform -9,-4            # e**-9 .. e**-4, as in RecBole
    n_item_blocks     choice [2,3,4]
    hidden_size       quniform 32,128,32          # 32, 64, 96, 128
    hidden_dropout_prob uniform 0,0.5
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recbole_compress.config.schema import Declared
from recbole_compress.config.validation import check_keys
from recbole_compress.config.values import parse_value
from recbole_compress.errors import ConfigError
from recbole_compress.near_names import did_you_mean

__all__ = ["Choice", "Dimension", "LogUniform", "QUniform", "Space", "Uniform", "read_space"]

MOST_POINTS = 1_000_000
MOST_PROBES = 100  # a look at a value takes some hundredths of a second
# With another of these, scores could not be compared.
_NOT_SEARCHED = {
    *("model", "dataset", "data_path", "resume", "config_files"),
    *("valid_metric", "metrics", "topk", "eval_args", "metric_decimal_place"),
}


@dataclass(frozen=True)
class Dimension:
    """One key and where it was asked for."""

    key: str
    where: str

    def probes(self) -> list[Any]:
        """Values to check before the first trial: all of them, or both ends and some between."""
        raise NotImplementedError

    def grid(self) -> list[Any]:
        """All values.

        Raises:
            ConfigError: There is no end of them.
        """
        raise ConfigError(
            f"{self.where}: {self.key}: algo=exhaustive needs choice or quniform; write a list of "
            "values, or take --algo=random"
        )

    def value(self, drawn: float) -> Any:
        """The setting for a number that was drawn."""
        return drawn

    def fitting(self, declared: Declared) -> Dimension:
        """The same, drawing whole numbers where the key wants them."""
        return self


@dataclass(frozen=True)
class Choice(Dimension):
    """One of a list; what is drawn is a position in it."""

    values: tuple[Any, ...]

    def probes(self) -> list[Any]:
        return list(self.values)

    def grid(self) -> list[Any]:
        return list(self.values)

    def value(self, drawn: float) -> Any:
        return self.values[int(drawn)]


@dataclass(frozen=True)
class Uniform(Dimension):
    """Any number from ``low`` to ``high``."""

    low: float
    high: float

    def probes(self) -> list[Any]:
        return [self.value(self.low), self.value(self.high)]

    def value(self, drawn: float) -> Any:
        return float(drawn)


@dataclass(frozen=True)
class LogUniform(Dimension):
    """``e**u`` with ``u`` from ``low`` to ``high``; what is drawn is ``e**u``."""

    low: float
    high: float

    def probes(self) -> list[Any]:
        return [math.exp(self.low), math.exp(self.high)]

    def value(self, drawn: float) -> Any:
        return float(drawn)


@dataclass(frozen=True)
class QUniform(Dimension):
    """``low``, ``low + step``, ... ``high``; whole numbers for a key that wants them."""

    low: float
    high: float
    step: float
    whole: bool = False

    @property
    def steps(self) -> int:
        """From one end to the other."""
        return round((self.high - self.low) / self.step)

    def nth(self, number: int) -> Any:
        return self.value(self.low + number * self.step)

    def probes(self) -> list[Any]:
        last = min(self.steps, MOST_PROBES - 1)
        return [self.nth(self.steps * number // last) for number in range(last + 1)]

    def grid(self) -> list[Any]:
        if self.steps >= MOST_POINTS:
            raise ConfigError(
                f"{self.where}: {self.key}: algo=exhaustive: quniform has {self.steps + 1:,} "
                "values here; take a larger step, or --algo=random"
            )
        return [self.nth(number) for number in range(self.steps + 1)]

    def value(self, drawn: float) -> Any:
        tidy = float(f"{drawn:.12g}")  # 3 * 0.1 is 0.30000000000000004
        return int(tidy) if self.whole and tidy.is_integer() else tidy

    def fitting(self, declared: Declared) -> Dimension:
        return replace(self, whole="int" in declared.types and "float" not in declared.types)


@dataclass(frozen=True)
class Space:
    """The keys that a search varies.

    Example:
        >>> space = Space([Choice("epochs", "", (1, 2)), Choice("seed", "", (7, 8, 9))])
        >>> space.size(), space.point(4)
        (6, {'epochs': 2, 'seed': 8})
    """

    dimensions: Sequence[Dimension]

    def size(self) -> int:
        """Number of points.

        Raises:
            ConfigError: A dimension without end.
        """
        return math.prod(len(dimension.grid()) for dimension in self.dimensions)

    def point(self, number: int) -> dict[str, Any]:
        """The settings of one point, counting with the last key fastest."""
        grids = [dimension.grid() for dimension in self.dimensions]
        places = np.unravel_index(number, [len(grid) for grid in grids])
        return {
            dimension.key: grid[place]
            for dimension, grid, place in zip(self.dimensions, grids, places, strict=True)
        }

    def order(self, seed: int) -> list[int]:
        """All points' numbers, shuffled: the first few are a fair sample of the space.

        Raises:
            ConfigError: More points than anybody would visit.
        """
        if self.size() > MOST_POINTS:
            raise ConfigError(
                f"algo=exhaustive: the space has {self.size():,} points; take --algo=random"
            )
        return np.random.RandomState(seed).permutation(self.size()).tolist()

    def draw(self, rng: np.random.RandomState) -> dict[str, Any]:
        """A random point, every dimension on its own scale."""
        return {dimension.key: _DRAWS[type(dimension)](dimension, rng) for dimension in self}

    def check(self, schema: Mapping[str, Declared], model: str) -> Space:
        """The space with whole numbers where they are wanted.

        Raises:
            ConfigError: A key that the model does not know, or a value that the key cannot have.
        """
        checked = []
        for dimension in self.dimensions:
            key, where = dimension.key, dimension.where
            check_keys({key: None} if key not in schema else {}, schema, {key: where}, None, model)
            fitted = dimension.fitting(schema[key])
            for value in fitted.probes():
                check_keys({key: value}, schema, {key: where}, None, model)
            checked.append(fitted)
        return Space(checked)

    def without(self, keys: Collection[str]) -> Space:
        """The space without these keys."""
        return Space([dimension for dimension in self.dimensions if dimension.key not in keys])

    def __iter__(self) -> Iterator[Dimension]:
        return iter(self.dimensions)


_DRAWS: dict[type, Callable[[Any, np.random.RandomState], Any]] = {
    Choice: lambda d, rng: d.value(rng.randint(len(d.values))),
    Uniform: lambda d, rng: d.value(rng.uniform(d.low, d.high)),
    LogUniform: lambda d, rng: d.value(math.exp(rng.uniform(d.low, d.high))),
    QUniform: lambda d, rng: d.nth(rng.randint(d.steps + 1)),
}


def read_space(path: str | Path) -> Space:
    """The search space in a ``.hyper`` file.

    Raises:
        ConfigError: It cannot be read, or a line of it; names file, line and what was expected.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ConfigError(f"params_file {path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"params_file {path}: cannot be read ({error})") from error
    found: dict[str, Dimension] = {}
    for number, line in enumerate(lines, start=1):
        text = _without_comment(line)
        if not text:
            continue
        where = f"{path}, line {number}"
        dimension = _dimension(text, where)
        if dimension.key in found:
            raise ConfigError(f"{where}: {dimension.key}: has a line already; keep one")
        found[dimension.key] = dimension
    if not found:
        raise ConfigError(
            f"params_file {path}: no line such as 'learning_rate choice [0.01,0.001]'"
        )
    return Space(list(found.values()))


def _without_comment(line: str) -> str:
    """A ``#`` begins a comment at the start of a line or after white space."""
    for position, character in enumerate(line):
        if character == "#" and (position == 0 or line[position - 1].isspace()):
            return line[:position].strip()
    return line.strip()


def _dimension(text: str, where: str) -> Dimension:
    parts = text.split(maxsplit=2)
    if len(parts) < 3:
        raise ConfigError(
            f"{where}: {text!r}: expected KEY KIND VALUES, such as 'learning_rate choice "
            "[0.01,0.001]' or 'learning_rate loguniform -9,-4'"
        )
    key, kind, values = parts
    if key in _NOT_SEARCHED:
        raise ConfigError(f"{where}: {key}: belongs on the command line, not in a space")
    if kind not in _READERS:
        raise ConfigError(f"{where}: {key}: kind {kind!r}: {did_you_mean(kind, _READERS)}")
    return _READERS[kind](key, where, values)


def _choice(key: str, where: str, text: str) -> Choice:
    values = parse_value(text)
    if not isinstance(values, (list, tuple)) or not values:
        raise ConfigError(
            f"{where}: {key}: choice {text}: expected a list of values, such as [0.01,0.001]"
        )
    # RecBole's files put a list into quotes, because hyperopt would take it apart: '[64,32]'.
    parsed = [parse_value(value) if isinstance(value, str) else value for value in values]
    distinct = {repr(value): value for value in parsed}
    return Choice(key, where, tuple(distinct.values()))


def _uniform(key: str, where: str, text: str) -> Uniform:
    return Uniform(key, where, *_numbers(key, where, "uniform", text, "LOW,HIGH"))


def _loguniform(key: str, where: str, text: str) -> LogUniform:
    low, high = _numbers(key, where, "loguniform", text, "LOW,HIGH")
    if high > 100:
        raise ConfigError(
            f"{where}: {key}: loguniform {text}: exponents of e, and e**{high:g} is too big"
        )
    return LogUniform(key, where, low, high)


def _quniform(key: str, where: str, text: str) -> QUniform:
    low, high, step = _numbers(key, where, "quniform", text, "LOW,HIGH,STEP")
    # hyperopt rounds to multiples of the step, beyond the ends if they are none.
    if step <= 0 or not all(_is_multiple(end, step) for end in (low, high)):
        raise ConfigError(
            f"{where}: {key}: quniform {text}: expected LOW and HIGH to be multiples of STEP"
        )
    return QUniform(key, where, low, high, step)


def _is_multiple(number: float, step: float) -> bool:
    times = number / step
    # Beyond 2**53 every float is whole, and tells nothing.
    return abs(times) < 2**53 and math.isclose(times, round(times), abs_tol=1e-9)


_READERS: dict[str, Callable[[str, str, str], Dimension]] = {
    "choice": _choice,
    "uniform": _uniform,
    "loguniform": _loguniform,
    "quniform": _quniform,
}


def _numbers(key: str, where: str, kind: str, text: str, form: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != form.count(",") + 1 or not all(map(math.isfinite, numbers)):
        raise ConfigError(f"{where}: {key}: {kind} {text}: expected {kind} {form}, all numbers")
    if numbers[0] >= numbers[1]:
        raise ConfigError(f"{where}: {key}: {kind} {text}: expected LOW below HIGH")
    return numbers
