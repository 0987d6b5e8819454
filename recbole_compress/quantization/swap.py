"""Quantizing a model in place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn
from torch.nn.utils import parametrize

from recbole_compress.errors import QuantizationError
from recbole_compress.functional.integer_grid import scale_shape
from recbole_compress.heads.scored_state import ScoredState
from recbole_compress.quantization.fake_quantizer import FakeQuantizer
from recbole_compress.quantization.recurrent import OpenRecurrent
from recbole_compress.quantization.report import QuantizationReport, ReportRow
from recbole_compress.quantization.rounded_inputs import attach, can_round
from recbole_compress.quantization.specs import FULL_PRECISION, QuantizationSpec
from recbole_compress.quantization.tables_in_products import tables_in_products
from recbole_compress.quantization.targets import Target, one_per_parameter, targets

__all__ = ["check_quantizable", "open_recurrent_", "quantize_"]


def check_quantizable(model: nn.Module, spec: QuantizationSpec) -> list[Target]:
    """Refuse what :func:`quantize_` would refuse of any model of these names and shapes.

    Args:
        model: Full precision; not changed, and none of its numbers is read.
        spec: How it is to be quantized.

    Returns:
        Every parameter, with what ``spec`` has in mind for it.

    Raises:
        QuantizationError: A model that is quantized already or has nothing to quantize, overrides
            of nothing it has, groups that do not divide a width.

    Example:
        >>> spec = QuantizationSpec(granularity="group", group_size=3)
        >>> check_quantizable(nn.Linear(6, 4), spec)[0].rows
        (4, 6)
    """
    planned = targets(model, spec)
    chosen = one_per_parameter(planned)
    if not chosen:
        raise QuantizationError(
            f"{type(model).__name__}: has no table or matrix to quantize under these settings"
        )
    for target in chosen:
        assert target.format is not None
        with _named(target):
            scale_shape(target.rows, target.format.granularity, target.format.group_size)
    return planned


def quantize_(model: nn.Module, spec: QuantizationSpec) -> QuantizationReport:
    """Quantize ``model`` in place, as ``spec`` says, by the types of its modules.

    Every matrix and kernel becomes a parametrized one: its module reads its nearest grid points,
    what is trained is still the full-precision parameter. Tables that several modules share stay
    shared. ``nn.GRU`` and ``nn.LSTM`` become
    :class:`~recbole_compress.quantization.recurrent.OpenRecurrent`. With ``activation_bits`` below
    32, what enters linear layers, convolutions, recurrent layers (inputs and states), attention,
    and the scoring of items is rounded too.

    Args:
        model: Any sequential recommender, or any module.
        spec: How.

    Returns:
        What became of every parameter; those that stay fp32 have their reasons there.

    Raises:
        QuantizationError: A model that is quantized already or has nothing to quantize, numbers
            that are not finite, groups that do not divide a width. Nothing has changed then.

    Example:
        >>> model = nn.Sequential(nn.Embedding(10, 8, padding_idx=0), nn.GRU(8, 8))
        >>> report = quantize_(model, QuantizationSpec(weight_bits=4, table_bits=2))
        >>> sorted({row.bits for row in report.rows}), model[0](model[0].weight.new_zeros(1).long())
        ([2, 4, 32], tensor([[0., 0., 0., 0., 0., 0., 0., 0.]], grad_fn=<EmbeddingBackward0>))
    """
    # Everything that can go wrong goes wrong here.
    planned = check_quantizable(model, spec)
    quantizers = {
        id(target.parameter): _fitted(target, spec.learn_steps)
        for target in one_per_parameter(planned)
    }
    open_recurrent_(model, {id(t.module) for t in planned if t.format is not None})
    modules = dict(model.named_modules())
    rounded: list[nn.Module] = []
    for target in planned:
        if target.format is None:
            continue
        module = modules[target.name.rpartition(".")[0]]
        parametrize.register_parametrization(
            module, target.attribute, quantizers[id(target.parameter)]
        )
        if target.parameter.dim() > 1 and can_round(module) and module not in rounded:
            rounded.append(module)
    if spec.activation_bits != FULL_PRECISION:
        if any(target.is_table and target.format for target in planned):
            rounded += [module for module in modules.values() if isinstance(module, ScoredState)]
        for module in rounded:
            static = spec.activation_range == "static"
            attach(module, spec.activation_bits, static, spec.range_finder)
        return _report(planned, spec, tables_in_products(model))
    return _report(planned, spec, None)


def open_recurrent_(model: nn.Module, wanted: set[int] | None = None) -> None:
    """Replace recurrent layers of torch by open ones, in place.

    Args:
        model: Searched.
        wanted: Ids of the layers to be replaced; None for all.
    """
    stand_ins: dict[int, OpenRecurrent] = {}
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.RNNBase) and (wanted is None or id(child) in wanted):
                if id(child) not in stand_ins:
                    stand_ins[id(child)] = OpenRecurrent(child)
                setattr(parent, name, stand_ins[id(child)])


def _fitted(target: Target, learn_steps: bool) -> FakeQuantizer:
    assert target.format is not None
    with _named(target):
        return FakeQuantizer(
            target.parameter, target.rows, target.format, learn_steps, target.zero_row
        )


@contextlib.contextmanager
def _named(target: Target) -> Iterator[None]:
    """Errors inside say of which parameter they are."""
    try:
        yield
    except QuantizationError as error:
        raise QuantizationError(f"{target.name}: {error}") from error


def _report(
    planned: list[Target], spec: QuantizationSpec, in_products: set[int] | None
) -> QuantizationReport:
    rows = []
    for target in planned:
        parameter, format = target.parameter, target.format
        bits, size = FULL_PRECISION, parameter.numel() * parameter.element_size()
        activation_bits = FULL_PRECISION
        if format is not None:
            bits, size = format.bits, format.stored_bytes(target.rows)
            if _rounds(target, in_products):
                activation_bits = spec.activation_bits
        rows.append(
            ReportRow(
                target.name,
                target.type_name,
                tuple(parameter.shape),
                bits,
                size,
                activation_bits,
                target.reason,
            )
        )
    return QuantizationReport(rows)


def _rounds(target: Target, in_products: set[int] | None) -> bool:
    """Whether what a parameter is multiplied with is rounded; the settings' word if unknown."""
    if target.parameter.dim() < 2:  # added to something, or multiplied number by number
        return False
    if isinstance(target.module, nn.Embedding) and in_products is not None:
        return id(target.module) in in_products
    return can_round(target.module) or isinstance(target.module, nn.RNNBase) or target.is_table
