"""Where the activations of each type of module are rounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from recbole_compress.backbones import CausalConvolution
from recbole_compress.heads.scored_state import ScoredState
from recbole_compress.quantization.activations import ActivationQuantizer
from recbole_compress.quantization.recurrent import OpenRecurrent
from recbole_compress.quantization.scoring_table import ScoringTable

__all__ = ["RoundsOtherFactor", "attach", "can_round"]


class RoundsOtherFactor(nn.Module):
    """Makes a table a :class:`~recbole_compress.quantization.scoring_table.ScoringTable`."""

    def __init__(self, quantizer: ActivationQuantizer) -> None:
        super().__init__()
        self.quantizer = quantizer

    def forward(self, table: Tensor) -> Tensor:
        return ScoringTable.of(table, self.quantizer)


def _first_argument(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    quantizer = module._modules["input_quantizer"]
    assert quantizer is not None
    return (quantizer(arguments[0]), *arguments[1:])


def _query_key_value(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    quantizer = module._modules["input_quantizer"]
    assert quantizer is not None
    return (*(quantizer(argument) for argument in arguments[:3]), *arguments[3:])


def _at_the_door(hook: Callable) -> Callable[[nn.Module, ActivationQuantizer], None]:
    def put(module: nn.Module, quantizer: ActivationQuantizer) -> None:
        module.add_module("input_quantizer", quantizer)
        module.register_forward_pre_hook(hook)

    return put


def _inside(module: nn.Module, quantizer: ActivationQuantizer) -> None:
    module.add_module("input_quantizer", quantizer)


def _in_the_weight(module: nn.Module, quantizer: ActivationQuantizer) -> None:
    parametrize.register_parametrization(
        module, "weight", RoundsOtherFactor(quantizer), unsafe=True
    )


# By type: how rounding gets into it, and along which dimension a token of its input lies.
_WAYS: list[tuple[Any, Callable[[nn.Module, ActivationQuantizer], None], int]] = [
    ((nn.Linear, CausalConvolution, ScoredState), _at_the_door(_first_argument), -1),
    (nn.modules.conv._ConvNd, _at_the_door(_first_argument), 1),
    (nn.MultiheadAttention, _at_the_door(_query_key_value), -1),
    (OpenRecurrent, _inside, -1),
    (nn.Embedding, _in_the_weight, -1),
]


def can_round(module: nn.Module) -> bool:
    """Whether there is a place where the input of this module's product can be rounded.

    Of the output projection of torch's attention there is none: it is read past its own forward.
    """
    if isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear):
        return False
    return any(isinstance(module, kind) for kind, _, _ in _WAYS)


def attach(module: nn.Module, bits: int, static: bool, range_finder: str) -> None:
    """Round what enters the module's products; its weights are quantized already.

    Tokens are slices along the last dimension. For a convolution they are the channels at one
    place; of a single channel, where that would be a number each, whole examples.
    """
    for kind, put, token_dim in _WAYS:
        if isinstance(module, kind):
            put(module, ActivationQuantizer(bits, static, range_finder, token_dim))
            return
    raise TypeError(f"{type(module).__name__}: no place to round its input")
