"""Looking into a model's method, or giving the rest of it something else to work on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from torch import nn

__all__ = ["Found", "Unlike", "replaced"]


class Found(Exception):
    """Ends a model's method once it has shown what was looked for."""


class Unlike(RuntimeError):
    """A model that does not work the way that was tried."""


@contextlib.contextmanager
def replaced(model: nn.Module, **methods: Callable) -> Iterator[None]:
    """Methods of this one object, for as long as the block lasts."""
    before = {name: vars(model).get(name) for name in methods}
    vars(model).update(methods)
    try:
        yield
    finally:
        for name, method in before.items():
            if method is None:
                vars(model).pop(name, None)
            else:
                vars(model)[name] = method
