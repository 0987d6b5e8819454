"""Which parameters of a model are quantized, and how; nothing is changed here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn.utils import parametrize

from recbole_compress.backbones import CausalConvolution
from recbole_compress.embeddings import ItemEmbedding
from recbole_compress.errors import QuantizationError
from recbole_compress.heads import ItemHead
from recbole_compress.near_names import did_you_mean
from recbole_compress.quantization.recurrent import OpenRecurrent, opened
from recbole_compress.quantization.specs import QuantizationSpec, TensorFormat

__all__ = ["Target", "one_per_parameter", "targets"]

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.modules.batchnorm._NormBase)
# Their first dimension is what they put out, so a row is what one output is made of.
ROW_PER_OUTPUT = (
    nn.Linear,
    nn.Embedding,
    nn.modules.conv._ConvNd,
    nn.RNNBase,
    nn.MultiheadAttention,
    OpenRecurrent,
    CausalConvolution,
)
# What stays fp32 unless it is asked for by its name.
VECTOR, NORMALISATION = "a vector", "normalisation"
# Rows of other tensors are at least so wide, or each would need a scale for a few numbers.
_NARROWEST = 64


@dataclass(frozen=True)
class Target:
    """One parameter of a model.

    Attributes:
        name: As in ``model.named_parameters()``.
        module: The module that holds it.
        type_name: Of its class, before anything was changed.
        attribute: Its name there.
        parameter: The parameter.
        is_table: Whether it has a row per item or user, or builds what has.
        rows: Shape in which it is given scales.
        zero_row: A row of zeros that is to stay one.
        format: How it is quantized, or None.
        reason: Why it is not, in words.
    """

    name: str
    module: nn.Module
    type_name: str
    attribute: str
    parameter: nn.Parameter
    is_table: bool
    rows: tuple[int, int]
    zero_row: int | None
    format: TensorFormat | None
    reason: str | None


def targets(model: nn.Module, spec: QuantizationSpec) -> list[Target]:
    """Every parameter of ``model``, with what ``spec`` has in mind for it.

    Raises:
        QuantizationError: A model that is quantized already; an override of nothing it has.
    """
    found = list(_all(model, spec))
    for pattern in spec.overrides:
        if not any(spec.meets(target.name, pattern) for target in found):
            names = [target.name for target in found]
            raise QuantizationError(f"overrides: {pattern!r}: {did_you_mean(pattern, names)}")
    return found


def one_per_parameter(planned: list[Target]) -> list[Target]:
    """What is to be quantized, once where modules share it."""
    first: dict[int, Target] = {}
    for target in planned:
        if target.format is not None:
            first.setdefault(id(target.parameter), target)
    return list(first.values())


def _all(model: nn.Module, spec: QuantizationSpec) -> Iterator[Target]:
    of_tables = {
        id(inner)
        for module in model.modules()
        if isinstance(module, (nn.Embedding, ItemEmbedding, ItemHead))
        for inner in module.modules()
    }
    n_items = getattr(model, "n_items", None)
    catalogue = (n_items, n_items + 1) if isinstance(n_items, int) else ()
    for module_name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            raise QuantizationError(
                f"{module_name or type(module).__name__}: is quantized already; quantize the "
                "full-precision model it was made from"
            )
        for attribute, parameter in module.named_parameters(recurse=False):
            name = f"{module_name}.{attribute}" if module_name else attribute
            is_table = id(module) in of_tables or parameter.shape[:1] in [(n,) for n in catalogue]
            rows = row_shape(module, tuple(parameter.shape))
            reason, format = _why_not(module, attribute, parameter), None
            if reason in (VECTOR, NORMALISATION) and spec.asks_for(name):
                reason = None
            if reason is None and is_table and rows[1] == 1 and not spec.overrides_of(name):
                reason = VECTOR  # such as a bias per item; a scale each would be larger
            if reason is None:
                format = spec.format_of(name, is_table)
                reason = None if format is not None else "as the settings say"
            yield Target(
                name,
                module,
                type(module).__name__,
                attribute,
                parameter,
                is_table,
                rows,
                _zero_row(module, attribute, parameter),
                format,
                reason,
            )


def _why_not(module: nn.Module, attribute: str, parameter: nn.Parameter) -> str | None:
    if not parameter.is_floating_point():
        return f"numbers of type {str(parameter.dtype).removeprefix('torch.')}"
    if isinstance(module, NORMS):
        return NORMALISATION
    if parameter.dim() < 2 or attribute.startswith("bias"):
        return VECTOR
    if (
        not isinstance(module, ROW_PER_OUTPUT)
        and min(row_shape(module, tuple(parameter.shape))) < 2
    ):
        return VECTOR
    if isinstance(module, nn.RNNBase) and opened(module) is None:
        return f"weights that {type(module).__name__} reads on its own"
    return None


def row_shape(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """``(n_rows, width)`` in which a parameter is given scales.

    What one output is made of where the module's type says what that is, the last dimension of a
    matrix, and otherwise as few of the last dimensions as make a row worth a scale.

    Example:
        >>> row_shape(nn.Conv1d(8, 4, 3), (4, 8, 3)), row_shape(nn.Module(), (30, 8, 20, 30))
        ((4, 24), (240, 600))
    """
    if len(shape) < 2:
        return 1, math.prod(shape)
    cut = 1
    if not isinstance(module, ROW_PER_OUTPUT) and len(shape) > 2:
        wide = [at for at in range(1, len(shape)) if math.prod(shape[at:]) >= _NARROWEST]
        cut = max(wide, default=1)
    return math.prod(shape[:cut]), math.prod(shape[cut:])


def _zero_row(module: nn.Module, attribute: str, parameter: nn.Parameter) -> int | None:
    row = getattr(module, "padding_idx", None)
    if not isinstance(row, int) or attribute != "weight" or parameter.dim() != 2:
        return None
    if parameter.shape[0] != getattr(module, "num_embeddings", None):
        return None
    return None if parameter[row].any() else row
