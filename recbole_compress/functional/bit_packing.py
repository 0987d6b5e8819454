"""Unsigned integers of 1 to 8 bits in as few bytes as they need."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["pack", "packed_size", "unpack"]

# Words of 8 bytes that are held at once; as few as this stay in cache.
_WORDS_AT_ONCE = 2**14


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
    stream = _regrouped(eights, bits, into=bits, new_bits=8)
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
    return _regrouped(groups, 8, into=8, new_bits=bits)[..., :count].contiguous()


def _regrouped(groups: Tensor, bits: int, into: int, new_bits: int) -> Tensor:
    """Each group of integers of ``bits`` bits as ``into`` integers of ``new_bits`` bits.

    Args:
        groups: uint8 ``(..., n_groups, size)``, at most 64 bits in a group.

    Returns:
        uint8 ``(..., n_groups * into)``.
    """
    result = groups.new_empty(*groups.shape[:-1], into)
    parts = (t.flatten(0, -2).split(_WORDS_AT_ONCE) for t in (groups, result))
    for old, new in zip(*parts, strict=True):
        word = old.new_zeros(len(old), dtype=torch.int64)
        for place in range(old.shape[1]):
            word |= old[:, place].long() << (bits * place)
        for place in range(into):
            new[:, place] = (word >> (new_bits * place)) & ((1 << new_bits) - 1)
    return result.flatten(-2)
