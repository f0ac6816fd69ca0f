"""Thresholds on sums: a code is the lowest one and as many more as its channel has thresholds that
the sum reaches.

Which thresholds stand for a layer follows from its scales and a rounding, in whole numbers: the
codes are those of real arithmetic with this rounding (FINN's MultiThreshold, streamlined).
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from deployq.arithmetic.codes import Bounds, scale_and_zero
from deployq.arithmetic.contract import Rounding
from deployq.arithmetic.rounding import Int64Array, round_real
from deployq.errors import UnsupportedError
from deployq.qparams import FloatArray, QParams

COUNTED_BITS = 8
"""Widest codes that are counted: 2**bits - 1 thresholds lie in the memory of each channel."""

NEVER = int(np.iinfo(np.int64).max)
"""A threshold that no sum reaches; every sum reaches ``~NEVER``."""

_KEPT = 64
"""Layers whose thresholds are kept from call to call."""


def layer_thresholds(
    x_scale: FloatArray | np.float32,
    w_scale: FloatArray | np.float32,
    out: QParams,
    rounding: Rounding,
) -> Int64Array:
    """The least sum that becomes each code but the lowest, or a higher one.

    Args:
        x_scale: float32, rank 0.
        w_scale: float32, one or (C,).
        out: parameters of the output, per tensor.
        rounding: a mode that rounds once.

    Returns:
        As :func:`least_sums`, (1 or C, ``2**bits - 1``).

    Raises:
        UnsupportedError: codes wider than :data:`COUNTED_BITS`.
        ProfileError: a rounding in steps.
    """
    if out.qtype.bits > COUNTED_BITS:
        raise UnsupportedError(
            "output",
            f"thresholds make codes of {COUNTED_BITS} bits at most: a channel has 2**bits - 1",
            found=f"{out.qtype}: {2**out.qtype.bits - 1} thresholds a channel",
            allowed=f"{COUNTED_BITS} bits",
            next_step="give the output fewer bits, or the operator a kind with a multiplier",
        )
    codes = out.qtype.qmin + 1, out.qtype.qmax
    return least_sums(x_scale, w_scale, out, codes, rounding)


def least_sums(
    x_scale: FloatArray | np.float32,
    w_scale: FloatArray | np.float32,
    out: QParams,
    codes: Bounds,
    rounding: Rounding,
) -> Int64Array:
    """The least sum that becomes each of ``codes``, or a higher one, where nothing saturates.

    Args:
        x_scale, w_scale, out, rounding: as :func:`layer_thresholds`.
        codes: the first and the last.

    Returns:
        int64, (1 or C, codes), rising along the last axis, not to be written to. What 64 bits do
        not hold is their end.
    """
    y_scale, zero = scale_and_zero(out, "output")
    weights = tuple(np.atleast_1d(np.asarray(w_scale, np.float32)).tolist())
    values = codes[0] - zero, codes[1] - zero
    return _least_sums(float(x_scale), weights, float(y_scale), values, rounding)


@lru_cache(maxsize=_KEPT)
def _least_sums(
    x: float, weights: tuple[float, ...], y: float, values: Bounds, rounding: Rounding
) -> Int64Array:
    twice, missed = _edges(np.arange(values[0], values[1] + 1), rounding)
    rows = []
    for weight in weights:
        real = Fraction(x) * Fraction(weight) / Fraction(y)
        # the least a with 2 a N / D >= twice; above it where the edge itself rounds down
        least = -(-(twice * real.denominator + missed) // (2 * real.numerator))
        rows.append(least.clip(~NEVER, NEVER).astype(np.int64))
    found = np.stack(rows)
    found.setflags(write=False)
    return found


def _edges(values: Int64Array, rounding: Rounding) -> tuple[Any, Any]:
    """Where reals begin to round to each value: twice the edge, and 1 where it rounds down itself.

    Between two halves all reals round alike: four quarters below a value tell its edge.

    Returns:
        Python integers, in arrays of the shape of ``values``.
    """
    quarters = np.arange(1, 5).reshape(-1, *[1] * values.ndim)
    first = 1 + (round_real(values - 1 + quarters / 4, rounding) >= values).argmax(axis=0)
    twice, missed = 2 * (values - 1) + first // 2, first % 2
    return twice.astype(object), missed.astype(object)
