"""Unsigned integers of 1 to 8 bits in as few bytes as they need."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["pack", "packed_size", "unpack"]


def packed_size(count: int, bits: int) -> int:
    """Bytes that ``count`` codes of ``bits`` bits take; only the last byte may have bits to spare.

    Example:
        >>> packed_size(3, 3), packed_size(16, 2)
        (2, 4)
    """
    return (count * bits + 7) // 8


def pack(codes: Tensor, bits: int) -> Tensor:
    """Codes along the last dimension as one stream of bits, the lowest bits of a byte first.

    Code ``i`` takes the bits ``i * bits`` to ``(i + 1) * bits - 1`` of its row. So two 4-bit codes
    are ``first + 16 * second``, as in ONNX Runtime's ``MatMulNBits`` and ``GatherBlockQuantized``;
    3-bit codes run over the ends of bytes. Every row begins with a byte of its own: flatten first
    where that matters.

    Args:
        codes: uint8 ``(..., n)``, each below ``2 ** bits``.
        bits: 1 .. 8.

    Returns:
        uint8 ``(..., packed_size(n, bits))``.

    Example:
        >>> pack(torch.tensor([1, 2, 3], dtype=torch.uint8), bits=4)
        tensor([33,  3], dtype=torch.uint8)
    """
    *lead, count = codes.shape
    # Eight codes are `bits` whole bytes, whatever `bits` is: shift them together in one word.
    eights = torch.nn.functional.pad(codes, (0, -count % 8)).reshape(*lead, -1, 8)
    word = eights.new_zeros(eights.shape[:-1], dtype=torch.int64)
    for place in range(8):
        word |= eights[..., place].long() << (bits * place)
    octets = [(word >> (8 * place)) & 255 for place in range(bits)]
    stream = torch.stack(octets, -1).to(torch.uint8).flatten(-2)
    return stream[..., : packed_size(count, bits)].contiguous()


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """The codes that :func:`pack` put together.

    Args:
        packed: uint8 ``(..., packed_size(count, bits))``.
        bits: 1 .. 8.
        count: Codes per row.

    Returns:
        uint8 ``(..., count)``.

    Raises:
        ValueError: A row with another number of bytes than ``count`` codes have.

    Example:
        >>> unpack(torch.tensor([33, 3], dtype=torch.uint8), bits=4, count=3)
        tensor([1, 2, 3], dtype=torch.uint8)
    """
    *lead, octets = packed.shape
    if octets != packed_size(count, bits):
        raise ValueError(
            f"{octets} bytes per row: {count} codes of {bits} bits are {packed_size(count, bits)}"
        )
    groups = torch.nn.functional.pad(packed, (0, -octets % bits)).reshape(*lead, -1, bits)
    word = groups.new_zeros(groups.shape[:-1], dtype=torch.int64)
    for place in range(bits):
        word |= groups[..., place].long() << (8 * place)
    codes = [(word >> (bits * place)) & ((1 << bits) - 1) for place in range(8)]
    return torch.stack(codes, -1).to(torch.uint8).flatten(-2)[..., :count].contiguous()
