"""Keeping what was built from tensors, such as a table, for as long as they stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from typing import Self

__all__ = ["BuildCache", "KeepsBuilt"]

Built = TypeVar("Built")


class BuildCache(Generic[Built]):
    """What was built last, a tensor or several, and what it was built from.

    It is no part of a model's state: never saved, copied, pickled or moved with it. A change in
    place (loading, most optimizers' steps) and a replaced parameter or storage are seen. Torch does
    not tell of two changes: writing through ``parameter.data``, and the step of a fused optimizer,
    for which there is :class:`KeepsBuilt`.

    Example:
        >>> import torch
        >>> weight, cache = torch.ones(2), BuildCache()
        >>> table = cache.get_or_build([weight], lambda: weight * 2)
        >>> cache.get([weight]) is table, cache.get([weight.mul_(3)])
        (True, None)
    """

    def __init__(self) -> None:
        # The tensors themselves: held on to, their place in memory cannot become another's.
        self._sources: list[Tensor] = []
        self._states: list[tuple[int, int]] = []
        self._built: Built | None = None

    def get(self, sources: Iterable[Tensor]) -> Built | None:
        """What was built from these very tensors, if they have not changed since."""
        if self._built is None:
            return None
        now = list(sources)
        same = [id(tensor) for tensor in now] == [id(tensor) for tensor in self._sources]
        return self._built if same and _states(now) == self._states else None

    def get_or_build(self, sources: Iterable[Tensor], build: Callable[[], Built]) -> Built:
        sources = list(sources)
        built = self.get(sources)
        if built is None:
            # What is kept must not depend on who asked first.
            with torch.autocast(sources[0].device.type, enabled=False):
                built = build()
            if not any(tensor.is_inference() for tensor in sources):  # no record of changes
                self._sources, self._states, self._built = sources, _states(sources), built
        return built

    def clear(self) -> None:
        self._sources, self._states, self._built = [], [], None

    def __reduce__(self) -> tuple[Any, tuple]:
        return type(self), ()


class KeepsBuilt(nn.Module):
    """A module with a cache, which it forgets when training begins.

    Attributes:
        _cache: What it has built; subclasses make it.
    """

    _cache: BuildCache[Any]

    def train(self, mode: bool = True) -> Self:
        if mode:
            self._cache.clear()
        return super().train(mode)


def _states(tensors: Iterable[Tensor]) -> list[tuple[int, int]]:
    return [(tensor._version, tensor.data_ptr()) for tensor in tensors]
