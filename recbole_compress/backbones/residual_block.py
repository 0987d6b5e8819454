"""NextItNet's two residual blocks. They own their layer norms and are lent their convolutions."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["RESIDUAL_BLOCKS", "ConvolutionShape", "ResidualBlock"]

# The paper's 1e-8 is kept: the first convolution of an untrained network hands over variances
# near 1e-5 (0.02-sized items times 0.02-sized kernels), which torch's default of 1e-5 would halve.
# It is safe in float32: torch centres before it squares, and the rows without any variance (zeros,
# whose gradient it multiplies by 1e4) are padding, which no real position and no loss reads.
LAYER_NORM_EPS = 1e-8


class ConvolutionShape(NamedTuple):
    """Shape of one convolution; two convolutions can share weights only if theirs are equal."""

    dim_in: int
    dim_out: int
    kernel_size: int


class ResidualBlock(nn.Module, abc.ABC):
    """``x + branch(x)``, the branch being convolutions, layer norms and relu.

    Convolutions come as an argument because several residual blocks may share them; layer norms
    are never shared and live here.

    Args:
        dim: Width of the input and of the output.
        dropout: Probability of dropping an element of the branch before it is added.
    """

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(
            nn.LayerNorm(width, eps=LAYER_NORM_EPS) for width in self.norm_widths(dim)
        )
        self.dropout = nn.Dropout(dropout)

    @staticmethod
    @abc.abstractmethod
    def norm_widths(dim: int) -> tuple[int, ...]:
        """Width of each layer norm, in order of use."""

    @staticmethod
    @abc.abstractmethod
    def convolution_shapes(dim: int, kernel_size: int) -> tuple[ConvolutionShape, ...]:
        """Shapes of the convolutions the branch needs, in order of use."""

    @staticmethod
    @abc.abstractmethod
    def convolution_dilations(dilation: int) -> tuple[int, ...]:
        """Dilation of each of those convolutions."""

    def forward(
        self,
        x: Tensor,
        convolutions: Sequence[Callable[[Tensor], Tensor]],
        adapted: Callable[[Tensor], Tensor] = lambda branch: branch,
        kept: Tensor | None = None,
    ) -> Tensor:
        """Add the branch to its input.

        Args:
            x: ``(B, L, dim)``.
            convolutions: What each does to ``(B, ., width)``, its dilation included.
            adapted: Changes the branch before it is added.
            kept: The rows of ``x`` that the branch is computed for, ``(M,)``; None for all.

        Returns:
            ``(B, L, dim)``, or ``(B, M, dim)``.
        """
        branch = adapted(self.dropout(self.branch(x, convolutions)))
        return (x if kept is None else x.index_select(1, kept)) + branch

    @abc.abstractmethod
    def branch(self, x: Tensor, convolutions: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        """What is added to ``x``."""


class ResidualBlockA(ResidualBlock):
    """Type a: norm first, with a bottleneck of half the width around one dilated convolution.

    ``x + conv1x1(relu(LN(conv_k(relu(LN(conv1x1(relu(LN(x)))))))))``
    """

    @staticmethod
    def norm_widths(dim: int) -> tuple[int, ...]:
        return (dim, dim // 2, dim // 2)

    @staticmethod
    def convolution_shapes(dim: int, kernel_size: int) -> tuple[ConvolutionShape, ...]:
        half = dim // 2
        return (
            ConvolutionShape(dim, half, 1),
            ConvolutionShape(half, half, kernel_size),
            ConvolutionShape(half, dim, 1),
        )

    @staticmethod
    def convolution_dilations(dilation: int) -> tuple[int, ...]:
        return (1, dilation, 1)

    def branch(self, x: Tensor, convolutions: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        for norm, convolution in zip(self.norms, convolutions, strict=True):
            x = convolution(F.relu(norm(x)))
        return x


class ResidualBlockB(ResidualBlock):
    """Type b: norm last, two dilated convolutions, the second at twice the dilation.

    ``x + relu(LN(conv_2l(relu(LN(conv_l(x))))))``
    """

    @staticmethod
    def norm_widths(dim: int) -> tuple[int, ...]:
        return (dim, dim)

    @staticmethod
    def convolution_shapes(dim: int, kernel_size: int) -> tuple[ConvolutionShape, ...]:
        return (ConvolutionShape(dim, dim, kernel_size),) * 2

    @staticmethod
    def convolution_dilations(dilation: int) -> tuple[int, ...]:
        return (dilation, 2 * dilation)

    def branch(self, x: Tensor, convolutions: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        for norm, convolution in zip(self.norms, convolutions, strict=True):
            x = F.relu(norm(convolution(x)))
        return x


RESIDUAL_BLOCKS: dict[str, type[ResidualBlock]] = {"a": ResidualBlockA, "b": ResidualBlockB}
