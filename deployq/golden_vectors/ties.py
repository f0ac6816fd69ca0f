"""Which values lie exactly half way between two results of an operator's last step."""

from __future__ import annotations

from typing import Any

import numpy as np

from deployq.arithmetic.contract import Rounding
from deployq.arithmetic.multiplier import Q31, FixedMultiplier, multiply
from deployq.arithmetic.rounding import BoolArray, Int64Array, shift_right
from deployq_exporters.golden.scaling import FLOAT32, QUOTIENT, Scaling, spread

DOUBLE = (Rounding.DOUBLE.value, Rounding.DOUBLE_HALF_UP.value)

Signs = Int64Array
"""Of a tie +1 or -1, else 0."""


def tie_signs(scaling: Scaling, values: Int64Array, channel: Int64Array | int = 0) -> Signs:
    """Where the last rounding of ``values`` is a tie, the sign of what is rounded.

    A bias after the scale counts in it, the zero point only where it joins behind a step before.

    Args:
        values, channel: as in :func:`halves`.
    """
    at = np.asarray(channel) if scaling.mantissa.size > 1 else np.zeros((), np.int64)
    entering = values if scaling.before is None else _joined(scaling, values, at)
    rounded = entering.astype(np.float64)
    if scaling.late is not None:  # a tie is half a code from zero at least: float64 has its sign
        factors = FixedMultiplier(scaling.mantissa, scaling.shift).real
        rounded = rounded * factors[at] + scaling.late.real[at]
    signs = np.where(halves(scaling, values, channel), np.sign(rounded), 0)
    return signs.astype(np.int64)


def halves(scaling: Scaling, values: Int64Array, channel: Int64Array | int = 0) -> BoolArray:
    """True where the last rounding of ``values`` is a tie, or where they are thresholds.

    Args:
        values: sums, any shape.
        channel: of each, broadcastable; of one multiplier it is ignored.
    """
    if scaling.counted is not None:
        return scaling.counted.first(values, channel)
    at = np.asarray(channel) if scaling.mantissa.size > 1 else np.zeros((), np.int64)
    mantissa, shift = scaling.mantissa[at], scaling.shift[at]
    values = _joined(scaling, values, at)
    if scaling.precision:
        return is_half(_in_floats(scaling, values, at))
    if scaling.rounding == QUOTIENT:
        return np.asarray(2 * np.abs(values) % (2 * mantissa) == mantissa)
    if scaling.rounding in DOUBLE:
        return _half_of_high(values, mantissa, shift)
    if scaling.rounding == Rounding.NATURAL_PLUS_ONE:
        mantissa = mantissa + 1
    if scaling.post_shift >= 0:
        values = shift_right(values, shift - scaling.post_shift, Rounding.FLOOR)
        shift = np.full_like(shift, scaling.post_shift)
    product = values * mantissa
    if scaling.late is not None:
        product = product + scaling.late.mantissa[at]
    return _half_below(product, shift)


def stepped(scaling: Scaling, values: Int64Array) -> Int64Array:
    """What a scaling of integers with one multiplier and one rounding makes of values."""
    joined = _joined(scaling, values, np.zeros((), np.int64))
    product, mode = joined * scaling.mantissa[0], Rounding(scaling.rounding)
    return np.asarray(shift_right(product, scaling.shift[0], mode) + scaling.offset)


def _joined(scaling: Scaling, values: Int64Array, at: Int64Array) -> Int64Array:
    """Behind the step before, with what is added there."""
    if scaling.before is not None:
        values = stepped(scaling.before, values)
    return values if scaling.folded is None else values + scaling.folded[at]


def is_half(real: Any) -> BoolArray:
    """True where a float lies half way between two integers."""
    return np.asarray(real - np.floor(real) == 0.5)


def _half_below(product: Int64Array, shift: Int64Array) -> BoolArray:
    right = np.maximum(shift, 1)
    rest = product & ((np.int64(1) << right) - 1)
    return np.asarray((shift > 0) & (rest == np.int64(1) << (right - 1)))


def _half_of_high(values: Int64Array, mantissa: Int64Array, shift: Int64Array) -> BoolArray:
    """Of the second rounding, behind gemmlowp's high multiply."""
    left = np.maximum(Q31 - shift, 0)
    whole = FixedMultiplier(mantissa, np.full_like(shift, Q31))
    return _half_below(multiply(values << left, whole, Rounding.DOUBLE), shift - Q31)


def _in_floats(scaling: Scaling, values: Int64Array, at: Int64Array) -> Any:
    kind = np.float32 if scaling.precision == FLOAT32 else np.float64

    def real(factors: FixedMultiplier) -> Any:
        each = spread(factors, scaling)
        return np.ldexp(each.mantissa[at].astype(np.float64), -each.shift[at]).astype(kind)

    result = values.astype(kind) * real(FixedMultiplier(scaling.mantissa, scaling.shift))
    if scaling.divisor is not None:
        result = result / real(scaling.divisor)
    for added in (scaling.inner, scaling.late):
        result = result if added is None else result + real(added)
    return result
