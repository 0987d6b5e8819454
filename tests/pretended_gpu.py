"""A GPU that is none: what torch would refuse on one is refused, and the CPU does the work.

Tensors are marked as lying there. A mark is inherited by all that is computed from the tensor, and
operations on tensors of both places fail as torch's would. Tensors without a mark, such as
gradients, go with either place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

__all__ = ["DifferentDevices", "PretendedGPU", "moved"]

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)

_MAKES_NEW = {
    torch.arange,
    torch.as_tensor,
    torch.empty,
    torch.eye,
    torch.from_numpy,
    torch.full,
    torch.linspace,
    torch.ones,
    torch.rand,
    torch.randint,
    torch.randn,
    torch.randperm,
    torch.tensor,
    torch.zeros,
}
_MOVES = {torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.cuda}
# Of a tensor there with indices here, and copies from one place to the other.
_MAY_MIX = {
    torch.Tensor.__getitem__,
    torch.Tensor.__setitem__,
    torch.Tensor.copy_,
    torch.Tensor.index_put_,
}
_OF_AUTOGRAD = ("__set__", "backward", "grad")


class DifferentDevices(RuntimeError):
    """Tensors of both places, or a generator of the one for tensors of the other."""


def moved(module: nn.Module) -> nn.Module:
    """``module``, its parameters and buffers marked as lying on the GPU."""
    for tensor in (*module.parameters(), *module.buffers()):
        _mark(tensor, GPU)
    if hasattr(module, "device"):
        module.device = GPU
    return module


class PretendedGPU(TorchFunctionMode):
    """Within, marks are kept and mixing is refused."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(function, "__name__", "")
        if function == torch.Tensor.device.__get__:
            return _place(args[0]) or CPU
        if function == torch.Tensor.is_cuda.__get__:
            return _place(args[0]) == GPU
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if function in _MAKES_NEW or name.startswith("new_") or name.endswith("_like"):
            return _made(function, name, tensors, args, kwargs)
        if function in _MOVES:
            return _moved(function, args, kwargs)
        if name == "numpy" and _place(args[0]) == GPU:
            raise DifferentDevices("can't convert cuda:0 device type tensor to numpy")
        places = {_place(tensor) for tensor in tensors} - {None}
        mixed = {_place(tensor) for tensor in tensors if tensor.dim()} - {None}
        if len(mixed) > 1 and function not in _MAY_MIX and name not in _OF_AUTOGRAD:
            raise DifferentDevices(f"{name}: tensors on cuda and cpu")
        if function is torch.Tensor.__getitem__ and _place(args[0]) == CPU and GPU in mixed:
            raise DifferentDevices("indices should be on the same device as the indexed tensor")
        _refuse_generator(name, kwargs, GPU in mixed)
        result = function(*args, **kwargs)
        place = _place(args[0]) if function in _MAY_MIX else GPU if GPU in places else CPU
        for leaf in tree_leaves(result) if places else ():
            if isinstance(leaf, Tensor) and _place(leaf) is None:
                _mark(leaf, place)
        return result


def _made(function: Any, name: str, like: list[Tensor], args: tuple, kwargs: dict) -> Any:
    """A new tensor, where it was asked for; beside the one that it takes after otherwise."""
    given = kwargs.pop("device", None)
    place = _place(like[0]) if like and given is None else _device(given or CPU)
    _refuse_generator(name, kwargs, place == GPU)
    return _mark(function(*args, **kwargs), place)


def _moved(function: Any, args: tuple, kwargs: dict) -> Tensor:
    """A tensor in another place, type, or both."""
    tensor, place, rest = args[0], _place(args[0]), []
    if function is not torch.Tensor.to:
        place = CPU if function is torch.Tensor.cpu else GPU
    for argument in args[1:] if function is torch.Tensor.to else ():
        if isinstance(argument, (str, torch.device)):
            place = _device(argument)
            continue
        place = _place(argument) if isinstance(argument, Tensor) else place
        rest.append(argument)
    if "device" in kwargs:
        place = _device(kwargs.pop("device"))
    kwargs.pop("non_blocking", None)
    result = tensor.to(*rest, **kwargs) if rest or kwargs else tensor
    if result is tensor and place != _place(tensor):
        result = tensor.clone() if tensor.requires_grad else tensor.detach().clone()
    return result if result is tensor else _mark(result, place)


def _refuse_generator(name: str, kwargs: dict, on_gpu: bool) -> None:
    if on_gpu and isinstance(kwargs.get("generator"), torch.Generator):
        raise DifferentDevices(f"{name}: expected a 'cuda' generator but found 'cpu'")


def _device(name: Any) -> torch.device:
    return GPU if torch.device(name).type == "cuda" else CPU


def _place(tensor: Tensor) -> torch.device | None:
    return tensor.__dict__.get("_pretended_place")


def _mark(tensor: Any, place: torch.device | None) -> Any:
    if isinstance(tensor, Tensor):
        tensor.__dict__["_pretended_place"] = place
    return tensor
