"""A dilated convolution over time that never looks ahead."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_compress.build_cache import BuildCache, KeepsBuilt

__all__ = ["CausalConvolution"]


class CausalConvolution(KeepsBuilt):
    """Causal convolution over positions, channels last, dilation chosen at the call.

    The dilation is an argument of ``forward`` because shared kernels are used at several
    dilations. Equals, with ``conv = nn.Conv1d(dim_in, dim_out, kernel_size, dilation=dilation)``
    holding the same weight and bias::

        left_padded = F.pad(x.transpose(1, 2), ((kernel_size - 1) * dilation, 0))
        return conv(left_padded).transpose(1, 2)

    Args:
        dim_in: Channels of the input.
        dim_out: Channels of the output.
        kernel_size: Number of taps.
        init_std: Standard deviation of the initial kernel, before truncation.

    Attributes:
        weight: ``(dim_out, dim_in, kernel_size)``, as in ``nn.Conv1d``; the last tap reads the
            current position. Drawn from a normal cut at two standard deviations.
        bias: ``(dim_out,)``, zeros.

    Example:
        >>> convolution = CausalConvolution(1, 1, kernel_size=2)
        >>> _ = nn.init.ones_(convolution.weight)
        >>> convolution(torch.tensor([[[1.0], [2.0], [4.0], [8.0]]]), dilation=2).flatten().tolist()
        [1.0, 2.0, 5.0, 10.0]

    Reference:
        Yuan et al., "A Simple Convolutional Generative Network for Next Item Recommendation",
        WSDM 2019. Differs from the released code: every kernel is drawn on its own, where one
        fixed seed per operation made all kernels of a shape start identical.
    """

    def __init__(self, dim_in: int, dim_out: int, kernel_size: int, init_std: float = 0.02) -> None:
        super().__init__()
        for name, value in (
            ("dim_in", dim_in),
            ("dim_out", dim_out),
            ("kernel_size", kernel_size),
        ):
            if value < 1:
                raise ValueError(f"{name}={value}: a convolution needs 1 or more")
        self.dim_in = dim_in
        self.dim_out = dim_out
        self.kernel_size = kernel_size
        self.weight = nn.Parameter(torch.empty(dim_out, dim_in, kernel_size))
        self.bias = nn.Parameter(torch.zeros(dim_out))
        nn.init.trunc_normal_(self.weight, std=init_std, a=-2 * init_std, b=2 * init_std)
        self._cache: BuildCache[Tensor] = BuildCache()

    def forward(self, x: Tensor, dilation: int = 1, taps: Tensor | None = None) -> Tensor:
        """Convolve over positions.

        Args:
            x: ``(B, L, dim_in)``.
            dilation: Distance between taps, at least 1; may exceed ``L``.
            taps: In place of a dilation, the rows of ``x`` that each output reads, oldest first,
                ``(M, kernel_size)``; ``L`` stands for zeros.

        Returns:
            ``(B, L, dim_out)``: output ``t`` reads ``t``, ``t - dilation``, ...; zeros before 0.
            With ``taps`` ``(B, M, dim_out)``.
        """
        if taps is not None:
            rows = F.pad(x, (0, 0, 0, 1)).index_select(1, taps.flatten())
            return self._linear(rows.view(len(x), len(taps), -1))
        padded = F.pad(x, (0, 0, (self.kernel_size - 1) * dilation, 0))
        # torch leaves oneDNN for a batch of one and falls back to a kernel 2-3x slower than this.
        if x.shape[0] == 1:
            return self._as_matrix_product(padded, dilation, x.shape[1])
        # An image of height 1 that is already channels-last: the layout oneDNN wants. The result
        # is contiguous as (B, L, dim_out), so the layer norm that follows copies nothing.
        # Measured against F.conv1d, and against one or several matrix products on shifted copies:
        # 1.3x and 2x faster, forward and backward (B=256, L=50, dim=64, one AVX-512 thread).
        image = padded.unsqueeze(1).permute(0, 3, 1, 2)
        out = F.conv2d(image, self.weight.unsqueeze(2), self.bias, dilation=(1, dilation))
        return out.permute(0, 2, 3, 1).squeeze(1)

    def _as_matrix_product(self, padded: Tensor, dilation: int, length: int) -> Tensor:
        taps = [padded[:, dilation * i : dilation * i + length] for i in range(self.kernel_size)]
        return self._linear(torch.cat(taps, dim=-1))

    def _linear(self, taps: Tensor) -> Tensor:
        """``(B, M, kernel_size * dim_in) -> (B, M, dim_out)``, taps from oldest to newest."""
        if not self._may_keep():
            return F.linear(taps, self._matrix(), self.bias)
        # Rearranging the kernel takes a request as long as multiplying with it.
        return F.linear(taps, self._cache.get_or_build([self.weight], self._matrix), self.bias)

    def _matrix(self) -> Tensor:
        return self.weight.transpose(1, 2).reshape(self.dim_out, -1)

    def macs(self, length: int) -> int:
        """Multiply-adds for one sequence of ``length`` positions, zeros on the left included."""
        return length * self.kernel_size * self.dim_in * self.dim_out

    def extra_repr(self) -> str:
        return f"{self.dim_in}, {self.dim_out}, kernel_size={self.kernel_size}"
