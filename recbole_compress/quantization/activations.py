"""Rounding of what enters a product with quantized weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from recbole_compress.errors import QuantizationError
from recbole_compress.functional.integer_grid import fake_quantize
from recbole_compress.functional.quantization import find_grid

__all__ = ["ActivationQuantizer", "calibrating"]

# Numbers per batch that a static range is chosen from, the largest one besides.
_SAMPLE = 1 << 16


class ActivationQuantizer(nn.Module):
    """Integers for activations: symmetric, one scale per token or one for all.

    - Dynamic: every token (slice along ``token_dim``) has the scale that its largest number asks
      for, so a token's integers never depend on other tokens.
    - Static: one scale, chosen from what was seen within :func:`calibrating`, and stored.

    Gradients go straight through.

    Args:
        bits: 2 .. 8.
        static: As above.
        range_finder: For static ranges.
        token_dim: Along which a token's numbers lie; None for all but the first dimension.

    Raises:
        QuantizationError: From a static one that was never calibrated.

    Example:
        >>> ActivationQuantizer(3)(torch.tensor([[3.0, 0.4], [300.0, 40.0]]))
        tensor([[  3.,   0.],
                [300.,   0.]])
    """

    scale: Tensor

    def __init__(
        self,
        bits: int,
        static: bool = False,
        range_finder: str = "mse",
        token_dim: int | None = -1,
    ) -> None:
        super().__init__()
        self.bits, self.static, self.range_finder = bits, static, range_finder
        self.token_dim = token_dim
        self.seen: list[Tensor] | None = None  # a list while calibrating
        if static:
            self.register_buffer("scale", torch.full((1,), torch.nan))

    def forward(self, x: Tensor) -> Tensor:
        if self.seen is not None:
            self.seen.append(_sample(x, seed=len(self.seen)))
            return x
        if self.static:
            if torch.isnan(self.scale).any():
                raise QuantizationError(
                    "activation_range=static: no ranges yet; run the model within calibrating() "
                    "first, or choose dynamic"
                )
            return fake_quantize(x, self.scale, None, self.bits)
        if self.token_dim is None or (self.token_dim == 1 and x.shape[1] == 1):
            return self._per_token(x.flatten(1)).reshape(x.shape)
        return self._per_token(x.movedim(self.token_dim, -1)).movedim(-1, self.token_dim)

    def _per_token(self, x: Tensor) -> Tensor:
        reach = x.detach().abs().amax(-1, keepdim=True)
        return fake_quantize(x, reach / (2 ** (self.bits - 1) - 1), None, self.bits)

    def finish(self) -> None:
        """Choose the static range from what was seen."""
        seen, self.seen = self.seen, None
        if self.static and seen:
            found, _ = find_grid(
                torch.cat(seen), self.bits, "tensor", range_finder=self.range_finder
            )
            # Positive: runtimes that round activations know no mirrored grids.
            self.scale = found.abs()

    def extra_repr(self) -> str:
        return f"bits={self.bits}, static={self.static}"


@torch.no_grad()
def _sample(x: Tensor, seed: int) -> Tensor:
    """Numbers of all of ``x``, its largest magnitude among them; the same ones for a seed.

    At random places: evenly spaced ones would fall on the same few channels of every token.
    """
    numbers = x.detach().as_subclass(Tensor).reshape(-1)
    if numbers.numel() <= _SAMPLE:
        return numbers.float().clone()
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(numbers.numel(), (_SAMPLE,), generator=generator)
    largest = numbers.abs().argmax().reshape(1)
    return numbers[torch.cat([places.to(numbers.device), largest])].float()


@contextlib.contextmanager
def calibrating(model: nn.Module) -> Iterator[None]:
    """Within, the model runs with full-precision activations, and static ranges are found.

    Example:
        >>> from recbole_compress.quantization import QuantizationSpec, quantize_
        >>> model = nn.Sequential(nn.Linear(8, 8))
        >>> spec = QuantizationSpec(8, 8, activation_bits=8, activation_range="static")
        >>> _ = quantize_(model, spec)
        >>> with calibrating(model):
        ...     _ = model(torch.randn(100, 8))
        >>> model(torch.randn(2, 8)).shape
        torch.Size([2, 8])
    """
    quantizers = [m for m in model.modules() if isinstance(m, ActivationQuantizer)]
    for quantizer in quantizers:
        quantizer.seen = []
    try:
        yield
    finally:
        for quantizer in quantizers:
            quantizer.finish()
