"""The ranges that numbers among the settings have to lie in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from recbole_compress.errors import ConfigError

__all__ = ["ABOVE_ZERO", "SHARE", "Limit", "check_limits"]


class Limit(NamedTuple):
    """A range.

    Attributes:
        least: Its smallest number.
        most: Its largest.
        without_least: Whether ``least`` itself is outside.

    Example:
        >>> str(Limit(1)), str(Limit(0, without_least=True)), str(Limit(0, 1))
        ('1 or more', 'a number above 0', 'a number from 0 to 1')
    """

    least: float
    most: float = math.inf
    without_least: bool = False

    def holds(self, number: float) -> bool:
        """Whether it lies in the range; NaN lies in none."""
        above = number > self.least if self.without_least else number >= self.least
        return above and number <= self.most

    def __str__(self) -> str:
        if self.most == math.inf:
            return f"a number above {self.least}" if self.without_least else f"{self.least} or more"
        least = f"above {self.least}, at most" if self.without_least else f"from {self.least} to"
        return f"a number {least} {self.most}"


ABOVE_ZERO = Limit(0, without_least=True)
SHARE = Limit(0, 1)


def check_limits(settings: Any, limits: Mapping[str, Limit]) -> None:
    """Refuse a number outside its range; keys that are None are left alone.

    Args:
        settings: Anything with ``settings[key]``.
        limits: Ranges by key.

    Raises:
        ConfigError: Names key, value and range.

    Example:
        >>> check_limits({"epochs": -1}, {"epochs": Limit(0)})
        Traceback (most recent call last):
            ...
        recbole_compress.errors.ConfigError: epochs=-1: choose 0 or more
    """
    for key, limit in limits.items():
        value = settings[key]
        if value is not None and not limit.holds(value):
            raise ConfigError(f"{key}={value}: choose {limit}")
