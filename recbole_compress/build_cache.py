"""Keeping what was built from tensors, such as a table, for as long as they stay as they are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from typing import Self

__all__ = ["BuildCache", "KeepsBuilt", "evaluation_mode"]

Built = TypeVar("Built")


class _Kept(NamedTuple, Generic[Built]):
    """Tensors and their memory are held on to, so that neither's place can become another's."""

    built: Built
    sources: list[Tensor]
    memory: list[torch.UntypedStorage]
    states: list[tuple[int, int]]


class BuildCache(Generic[Built]):
    """What was built last, a tensor or several, and what it was built from.

    It is no part of a model's state: never saved, copied, pickled or moved with it. A change in
    place (loading, most optimizers' steps) and a replaced parameter or storage are seen. Torch does
    not tell of two changes: writing through ``parameter.data`` (or into the vector that
    ``vector_to_parameters`` made parameters of), and the step of a fused optimizer, for which there
    is :class:`KeepsBuilt`.

    Example:
        >>> import torch
        >>> weight, cache = torch.ones(2), BuildCache()
        >>> table = cache.get_or_build([weight], lambda: weight * 2)
        >>> cache.get([weight]) is table, cache.get([weight.mul_(3)])
        (True, None)
    """

    def __init__(self) -> None:
        # In one piece: another thread must not pair what is there now with what it was built from.
        self._kept: _Kept[Built] | None = None

    def get(self, sources: Iterable[Tensor]) -> Built | None:
        """What was built from these very tensors, if they have not changed since."""
        kept = self._kept
        if kept is None:
            return None
        now = list(sources)
        same = [id(tensor) for tensor in now] == [id(tensor) for tensor in kept.sources]
        return kept.built if same and _states(now) == kept.states else None

    def get_or_build(self, sources: Iterable[Tensor], build: Callable[[], Built]) -> Built:
        """What is kept, or else built now: without gradients, in full precision, for any mode."""
        sources = list(sources)
        built = self.get(sources)
        if built is not None:
            return built
        with torch.autocast(sources[0].device.type, enabled=False):
            if any(tensor.is_inference() for tensor in sources):  # no record of changes
                return build()
            states = _states(sources)  # of before, so that a change meanwhile is seen
            # In this order: leaving inference mode switches gradients on.
            with torch.inference_mode(False), torch.no_grad():
                built = build()
        memory = [tensor.untyped_storage() for tensor in sources]
        self._kept = _Kept(built, sources, memory, states)
        return built

    def clear(self) -> None:
        self._kept = None

    def __reduce__(self) -> tuple[Any, tuple]:
        return type(self), ()


class KeepsBuilt(nn.Module):
    """A module with a cache, which it uses out of training only and forgets when that begins.

    Attributes:
        _cache: What it has built; subclasses make it.
    """

    _cache: BuildCache[Any]

    def _may_keep(self) -> bool:
        return not self.training and not torch.is_grad_enabled()

    def train(self, mode: bool = True) -> Self:
        if mode:
            self._cache.clear()
        return super().train(mode)


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """``model.eval()``; afterwards every module is in the mode that it was in before.

    Example:
        >>> block = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
        >>> with evaluation_mode(block):
        ...     [part.training for part in block]
        [False, False]
        >>> [part.training for part in block]
        [True, False]
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True  # not by train(), which reaches what is inside as well
            if isinstance(module, KeepsBuilt):
                module._cache.clear()


def _states(tensors: Iterable[Tensor]) -> list[tuple[int, int]]:
    return [(tensor._version, tensor.data_ptr()) for tensor in tensors]
