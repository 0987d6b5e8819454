"""A stack of dilated causal convolutions, with weights shared by a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from torch import Tensor, nn

from recbole_compress.backbones.base import Backbone
from recbole_compress.backbones.causal_convolution import CausalConvolution
from recbole_compress.backbones.last_position_plan import last_position_plan, needed_positions
from recbole_compress.backbones.layer_sharing import SharingPlan, sharing_plan
from recbole_compress.backbones.residual_block import (
    RESIDUAL_BLOCKS,
    ConvolutionShape,
    ResidualBlock,
)
from recbole_compress.near_names import did_you_mean

__all__ = ["NextItNet"]


class NextItNet(Backbone):
    """NextItNet's trunk, the backbone of CpRec.

    One entry of ``dilations`` is one residual block. Equals, for type b without sharing::

        for i, dilation in enumerate(dilations):
            norms = residual_blocks[i].norms
            y = relu(norms[0](convolutions[2 * i](x, dilation)))
            y = relu(norms[1](convolutions[2 * i + 1](y, 2 * dilation)))
            x = x + y
        return x

    Sharing applies to a convolution's kernel and bias. Layer norms are never shared, and every
    position keeps its own dilation: one kernel may be used at several. A shared kernel is stored
    once, in ``convolutions``; ``plan`` says who uses it.

    Type a has three convolutions of three shapes per residual block, so they can be shared
    between residual blocks (``cross_block``, ``adjacent_block``) but not inside one.

    Args:
        embedding_dim: Width of the items and of every hidden state.
        dilations: One entry per residual block.
        kernel_size: Taps per dilated convolution.
        residual_block: ``"b"`` (CpRec's) or ``"a"`` (half the width inside).
        layer_sharing: A scheme of :func:`~recbole_compress.backbones.layer_sharing.sharing_plan`.
        dropout: Probability of dropping an element of a residual branch; 0 in the papers.

    Raises:
        ValueError: An unknown residual block or scheme, a scheme that would give one weight two
            shapes, no dilation or one below 1.

    Example:
        >>> import torch
        >>> backbone = NextItNet(8, dilations=(1, 4), layer_sharing="cross_block")
        >>> backbone.plan, len(backbone.convolutions), backbone.receptive_field
        (((0, 1), (0, 1)), 2, 31)
        >>> backbone(torch.zeros(2, 5, 8), lengths=torch.tensor([5, 3])).shape
        torch.Size([2, 5, 8])

    Reference:
        Yuan et al., WSDM 2019, figure 3 (residual blocks a and b); Sun et al., SIGIR 2020,
        arXiv:2004.13139 (sharing). Differs from RecBole's NextItNet, which reads the last padded
        position whatever the length, and adds a final dense layer.
    """

    def __init__(
        self,
        embedding_dim: int,
        dilations: Sequence[int] = (1, 4, 1, 4),
        kernel_size: int = 3,
        residual_block: str = "b",
        layer_sharing: str = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(embedding_dim)
        if residual_block not in RESIDUAL_BLOCKS:
            hint = did_you_mean(residual_block, RESIDUAL_BLOCKS)
            raise ValueError(f"residual_block={residual_block!r}: {hint}")
        whole = [isinstance(d, int) and not isinstance(d, bool) and d >= 1 for d in dilations]
        if not whole or not all(whole):
            raise ValueError(
                f"dilations={list(dilations)}: give one whole number from 1 on per residual block, "
                "e.g. [1, 4, 1, 4]"
            )
        block_type = RESIDUAL_BLOCKS[residual_block]
        shapes = block_type.convolution_shapes(embedding_dim, kernel_size)
        self.plan = sharing_plan(layer_sharing, len(dilations), len(shapes))
        self.convolutions = nn.ModuleList(
            CausalConvolution(*shape)
            for shape in _shapes_of_parameter_sets(self.plan, shapes, layer_sharing, residual_block)
        )
        self.residual_blocks = nn.ModuleList(block_type(embedding_dim, dropout) for _ in dilations)
        # (kernel size, dilation) of every convolution, per residual block
        self.steps = tuple(
            tuple(
                (shape.kernel_size, of_convolution)
                for shape, of_convolution in zip(
                    shapes, block_type.convolution_dilations(dilation), strict=True
                )
            )
            for dilation in dilations
        )
        self.receptive_field = 1 + sum(
            (taps - 1) * dilation for block in self.steps for taps, dilation in block
        )

    def forward(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        hidden = embedded
        for i, (block, row, steps) in enumerate(self._blocks()):
            convolutions: list[Callable[[Tensor], Tensor]] = [
                partial(convolution, dilation=dilation)
                for convolution, (_, dilation) in zip(row, steps, strict=True)
            ]
            hidden = block(hidden, convolutions, partial(self._adapted, i))
        return hidden

    def adapter_widths(self) -> tuple[int, ...]:
        """At the end of every residual branch, before it is added."""
        return (self.embedding_dim,) * len(self.residual_blocks)

    def last_state(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """As :meth:`Backbone.last_state`; one request computes what its last state depends on.

        Of the last convolution that is one position, of the one before ``kernel_size``, and so on.
        """
        if self.training or len(embedded) != 1:
            return super().last_state(embedded, lengths)
        length = max(int(lengths), 1)
        rows, plans = last_position_plan(length, self.steps, embedded.device)
        hidden = embedded[:, :length] if rows is None else embedded.index_select(1, rows)
        for i, ((block, row, _), plan) in enumerate(zip(self._blocks(), plans, strict=True)):
            convolutions = [
                _reading(convolution, taps)
                for convolution, taps in zip(row, plan.taps, strict=True)
            ]
            hidden = block(hidden, convolutions, partial(self._adapted, i), plan.kept)
        return hidden[:, 0]

    def last_state_macs(self, length: int) -> int:
        needed = needed_positions(length, self.steps)
        convolutions = sum(
            convolution.macs(len(positions))
            for (_, row, _), (_, *after) in zip(self._blocks(), needed, strict=True)
            for convolution, positions in zip(row, after, strict=True)
        )
        return convolutions + self._adapter_macs(len(block[-1]) for block in needed)

    def macs(self, length: int) -> int:
        # Per use, not per stored kernel: sharing saves weights, never arithmetic.
        convolutions = [conv for row in self.plan for conv in self._convolutions_of(row)]
        return sum(conv.macs(length) for conv in convolutions) + self._adapter_macs(
            [length] * len(self.residual_blocks)
        )

    def _blocks(
        self,
    ) -> list[tuple[ResidualBlock, list[CausalConvolution], tuple[tuple[int, int], ...]]]:
        """Every residual block, its convolutions and their kernel sizes and dilations."""
        blocks = [cast(ResidualBlock, block) for block in self.residual_blocks]
        rows = [self._convolutions_of(row) for row in self.plan]
        return list(zip(blocks, rows, self.steps, strict=True))

    def _convolutions_of(self, row: Sequence[int]) -> list[CausalConvolution]:
        return [cast(CausalConvolution, self.convolutions[index]) for index in row]


def _reading(convolution: CausalConvolution, taps: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: convolution(x, 1, taps)  # not by keyword: thop's hooks are not shown those


def _shapes_of_parameter_sets(
    plan: SharingPlan,
    shapes: Sequence[ConvolutionShape],
    layer_sharing: str,
    residual_block: str,
) -> list[ConvolutionShape]:
    """Shape of each parameter set, refusing a plan that needs one set in two shapes."""
    shape_of: dict[int, ConvolutionShape] = {}
    for row in plan:
        for index, shape in zip(row, shapes, strict=True):
            if shape_of.setdefault(index, shape) != shape:
                raise ValueError(
                    f"layer_sharing={layer_sharing!r} with residual_block={residual_block!r}: "
                    f"convolutions of shape {tuple(shape_of[index])} and {tuple(shape)} "
                    "(in, out, taps) cannot share weights; choose 'cross_block' or "
                    "'adjacent_block', or residual_block='b'"
                )
    return [shape_of[index] for index in sorted(shape_of)]
