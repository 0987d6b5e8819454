"""What the scores of a model are functions of, parametrized tensors as they are read."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["caches", "originals", "trained_tensors"]


def caches() -> bool:
    """Whether torch puts every parametrized tensor together once and keeps it, just now."""
    return parametrize._cache_enabled > 0


def originals(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters that are only read through a parametrization, its own ones among them."""
    for path, module in model.named_modules():
        if isinstance(module, parametrize.ParametrizationList):
            yield from module.named_parameters(prefix=path)


def trained_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Everything trained, parametrized tensors as they are read where torch caches them."""
    hidden: set[int] = set()
    if caches():
        hidden = {id(parameter) for _, parameter in originals(model)}
        for path, module in model.named_modules():
            if parametrize.is_parametrized(module):
                for name in module.parametrizations:
                    if (value := getattr(module, name)).requires_grad:
                        yield f"{path}.{name}", value
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in hidden:
            yield name, parameter
