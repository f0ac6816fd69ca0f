"""Softmax over 8-bit codes as LiteRT's kernels compute it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deployq.arithmetic.codes import Bounds
from deployq.arithmetic.contract import Rounding
from deployq.arithmetic.litert_softmax import (
    MOST_SUM,
    ONE,
    SHARE_SHIFT,
    SLOPE,
    START,
    STEPS,
    SUM_BITS,
    check_grids,
    fixed_exponentials,
    float_exponentials,
    high,
    sum_overflow,
)
from deployq.arithmetic.multiplier import Q31
from deployq.arithmetic.oracle.codes import in_order_sum, to_codes
from deployq.arithmetic.requant_words import Softmax
from deployq.arithmetic.rounding import Int64Array, round_real, shift_right
from deployq.qparams import IntArray, QParams


def litert_softmax(
    below: Int64Array, qx: QParams, out: QParams, word: Softmax, bounds: Bounds | None
) -> IntArray:
    """Codes of shares along the last axis, on the grid that LiteRT fixes.

    FLOAT_TABLE (``optimized_ops::Softmax``), each step in float32::

        y = round(e[d] (1 / (sum(e[d]) / 256)))     ties away from 0, summed in order

    GEMMLOWP (``reference_ops::Softmax``), integers with so many binary places::

        t = sum((e[d] + 2**11) >> 12)               19, below 2**28
        h = t 2**(31 - n)                           31: half of t's leading digits, n its length
        r = 48/17 - h 32/17, three times r + 4 r (1 - h r), doubled and saturated
        y = round(e[d] r / 2**(n + 3))

    Args:
        below: how far each code lies below the largest of its row.

    Raises:
        UnsupportedError: see ``check_grids`` and ``fixed_exponentials``.
        AccumulatorOverflowError: GEMMLOWP, a row whose t is 2**28 or more.
    """
    check_grids(qx, out)
    return to_codes(_SHARES[word](below, qx), out, bounds)


def _float(below: Int64Array, qx: QParams) -> Int64Array:
    parts = float_exponentials(qx)[below]
    inverse = np.float32(1) / (in_order_sum(parts) * np.float32(2.0**-8))
    return round_real((parts * inverse).astype(np.float64), Rounding.HALF_AWAY)


def _fixed(below: Int64Array, qx: QParams) -> Int64Array:
    parts = fixed_exponentials(qx)[below]
    total = shift_right(parts, Q31 - SUM_BITS, Rounding.HALF_AWAY).sum(-1, keepdims=True)
    most = int(total.max(initial=0))
    if most >= MOST_SUM:
        raise sum_overflow(most)
    length: Int64Array = np.frexp(total)[1].astype(np.int64)
    share = high(parts, _reciprocal(total << (Q31 - length)))
    return shift_right(share, length + SHARE_SHIFT, Rounding.HALF_AWAY)


def _reciprocal(half: Int64Array) -> Int64Array:
    """``1 / (2 half)`` with 31 binary places, of ``half`` in [1/2, 1) with as many."""
    value = START + high(half, SLOPE)
    for _ in range(STEPS):
        value = value + (high(value, ONE - high(half, value)) << 2)
    return np.asarray(np.minimum(value << 1, (1 << Q31) - 1))


_SHARES: dict[Softmax, Callable[[Int64Array, QParams], Int64Array]] = {
    Softmax.FLOAT_TABLE: _float,
    Softmax.GEMMLOWP: _fixed,
}
