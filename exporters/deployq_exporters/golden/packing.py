"""Codes as they lie in a memory: bits in bytes, bytes in words, planes of single bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deployq_targets.words import ByteOrder, CodeOrder

Bytes = npt.NDArray[np.uint8]
Codes = npt.NDArray[Any]

BYTE = 8


@dataclass(frozen=True)
class Packing:
    """How a memory holds codes, as a profile states it.

    Args:
        word_bits: width of a word.
        byte_order: where the first byte of a word lies.
        code_order: where the first of several codes in a byte lies.
        planes: weights lie in one plane of single bits for each bit of a code.
        channels: input channels of a plane are padded to a multiple of this.
    """

    word_bits: int = BYTE
    byte_order: ByteOrder = ByteOrder.LITTLE
    code_order: CodeOrder = CodeOrder.LOW_FIRST
    planes: bool = False
    channels: int = 1

    def padded(self, channels: int) -> int:
        """Channels of a plane."""
        return -(-channels // self.channels) * self.channels


def pack(codes: Codes, bits: int, order: CodeOrder) -> Bytes:
    """Codes of 1, 2, 4 or 8 bits, two's complement, in bytes; the last byte is filled with zeros.

    Args:
        codes: any shape, in C order.
    """
    each = BYTE // bits
    fields = (codes.ravel().astype(np.int64) & ((1 << bits) - 1)).astype(np.uint8)
    rows = np.pad(fields, (0, -len(fields) % each)).reshape(-1, each)
    places = np.arange(each) * bits
    shifts = places if order is CodeOrder.LOW_FIRST else places[::-1]
    packed: Bytes = np.bitwise_or.reduce(rows << shifts.astype(np.uint8), axis=1)
    return packed


def bit_planes(codes: Codes, bits: int, packing: Packing) -> Bytes:
    """One packed plane for each bit, lowest first.

    Args:
        codes: (runs, cells, channels); channels are padded with zeros.
    """
    room = packing.padded(codes.shape[2]) - codes.shape[2]
    padded = np.pad(codes.astype(np.int64), ((0, 0), (0, 0), (0, room)))
    return np.concatenate([pack(padded >> b & 1, 1, packing.code_order) for b in range(bits)])


def words(data: Bytes, packing: Packing) -> list[str]:
    """Hexadecimal words, the last one filled with zero bytes."""
    each = packing.word_bits // BYTE
    rows = np.pad(data, (0, -len(data) % each)).reshape(-1, each)
    if packing.byte_order is ByteOrder.LITTLE:
        rows = rows[:, ::-1]
    return _chunks(rows.tobytes(), each)


def numbers(values: Codes, bits: int) -> list[str]:
    """Hexadecimal numbers of 16, 32 or 64 bits, two's complement, one each."""
    each = bits // BYTE
    wide = (values.ravel().astype(np.int64)).astype(">i8").view(np.uint8).reshape(-1, 8)
    return _chunks(np.ascontiguousarray(wide[:, 8 - each :]).tobytes(), each)


def _chunks(data: bytes, each: int) -> list[str]:
    text, step = data.hex(), 2 * each
    return [text[i : i + step] for i in range(0, len(text), step)]
