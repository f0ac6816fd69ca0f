"""Products of a sum and a mantissa beyond 64 bits, as a high part and 32 low bits.

    acc mantissa + addend = high 2**32 + low,  0 <= low < 2**32

with ``acc = a 2**32 + b 2**16 + c`` and a mantissa of up to 32 bits: every partial product fits
int64.
"""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.contract import Rounding
from deployq.arithmetic.rounding import Int64Array, round_up

LOW_BITS = 32
LOW_MASK = (1 << LOW_BITS) - 1
HALF_BITS = 16
HALF_MASK = (1 << HALF_BITS) - 1
MOST = 1 << 95
"""Magnitude from which a high part may leave int64."""

SATURATING_BITS = 61
"""A result of more bits is cut to them, which saturates every code all the same."""


def multiply_long(
    acc: Int64Array, mantissa: Int64Array, shift: Int64Array, mode: Rounding, addend: Int64Array
) -> Int64Array:
    """``(acc * mantissa + addend) / 2**shift``, rounded once.

    Args:
        acc: int64, any shape.
        mantissa: 0 to 2**32, broadcastable to ``acc``.
        shift: 0 to 62, like ``mantissa``.
        addend: int64, like ``mantissa``; what it makes of the product stays below :data:`MOST`.

    Returns:
        int64; results beyond +-2**61 are next to it.
    """
    high, low = _product(acc, mantissa, addend)
    long = np.maximum(shift - LOW_BITS, 0)  # bits that go of the high part, and of the low part:
    short = np.minimum(shift, LOW_BITS)
    half = np.int64(1) << np.minimum(SATURATING_BITS - LOW_BITS - 1 + shift, 62)
    kept = np.clip(high, -half - half, half - 1 + half)
    floor = ((kept >> long) << (LOW_BITS - short)) + (low >> short)
    rest = ((kept & ((np.int64(1) << long) - 1)) << LOW_BITS) + (low & ((1 << short) - 1))
    return np.asarray(floor + round_up(rest, shift, floor, mode))


def _product(
    acc: Int64Array, mantissa: Int64Array, addend: Int64Array
) -> tuple[Int64Array, Int64Array]:
    lower = acc & LOW_MASK
    last = (lower & HALF_MASK) * mantissa
    middle = (lower >> HALF_BITS) * mantissa + (last >> HALF_BITS)
    high = (acc >> LOW_BITS) * mantissa + (middle >> HALF_BITS)
    low = ((middle & HALF_MASK) << HALF_BITS) + (last & HALF_MASK) + (addend & LOW_MASK)
    return high + (addend >> LOW_BITS) + (low >> LOW_BITS), low & LOW_MASK
