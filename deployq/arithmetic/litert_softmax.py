"""What LiteRT's two Softmax kernels over 8-bit codes share: their grids, their exponentials.

Entry d of a table stands for codes d below the largest of their row.
"""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.float32 import Float32Array
from deployq.arithmetic.multiplier import Q31, choose_fixed, multiply
from deployq.arithmetic.rounding import Int64Array, shift_right
from deployq.errors import AccumulatorOverflowError, UnsupportedError
from deployq.qparams import QParams

BYTE = 8
CODES = 1 << BYTE
INPUT_BITS = 26
"""Binary places of a difference between two inputs; it has 5 bits before the point."""
REACH = 31
"""LiteRT leaves elements out whose difference, after the left shift alone, is more than this: below
``exp(-31)``, where the mantissa is least below ``exp(-15.5)``."""
SUM_BITS = 19
"""Binary places of the sum of a row."""
MOST_SUM = 1 << (Q31 - 3)
"""Of a row: 512. From there on the last shift has more than 31 bits, and gemmlowp stops."""
SHARE_SHIFT = 3
"""What the last shift has beyond the length of the sum: 31 bits become 8."""
START, SLOPE = 1515870810, -1010580540
"""48/17 and -32/17 with 29 binary places, from which three Newton steps reach a reciprocal."""
ONE = 1 << 29
STEPS = 3

_FIXED = Form(Kind.FIXED)
_EXP_EIGHTH = 1895147668  # exp(-1/8) 2**31
_THIRD = 715827883  # 2**31 / 3
_QUARTER = 1 << (INPUT_BITS - 2)
_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""``exp(-2**k) 2**31`` for k from -2 to 4."""


def check_grids(qx: QParams, out: QParams) -> None:
    """Refuse what LiteRT's kernels do not take.

    Raises:
        UnsupportedError: inputs of more than 8 bits, or shares that are not 8-bit codes on 1/256
            with their lowest code for 0.
    """
    scale, zero_point = scale_and_zero(out, "Softmax")
    if qx.qtype.bits > BYTE:
        raise UnsupportedError(
            "Softmax",
            "LiteRT's Softmax by a table reads codes of up to 8 bits",
            found=str(qx.qtype),
            allowed="u8, s8 and narrower",
            next_step="quantize the input of this operator to 8 bits",
        )
    if (out.qtype.bits, float(scale), zero_point) != (BYTE, 1 / CODES, out.qtype.qmin):
        raise UnsupportedError(
            "Softmax",
            "LiteRT's Softmax writes shares on one grid",
            found=f"{out.qtype}, {scale}, {zero_point}",
            allowed="8 bits, 1/256, the lowest code",
            next_step="state activation.fixed_output.Softmax in the profile",
        )


def float_exponentials(qx: QParams) -> Float32Array:
    """``exp(-d s_x)`` for every d, (256,): the product and the exponential rounded to float32.

    (``optimized_ops::PopulateSoftmaxLookupTable``.) A math library that does not round correctly
    gives one unit in the last place more or less here and there.
    """
    scale = scale_and_zero(qx, "Softmax")[0]
    exponents = np.arange(CODES, dtype=np.float32) * -scale
    table: Float32Array = np.exp(exponents.astype(np.float64)).astype(np.float32)
    return table


def fixed_exponentials(qx: QParams) -> Int64Array:
    """``exp(-d s_x)`` with 31 binary places for every d, (256,); 0 beyond what ``REACH`` leaves in.

    gemmlowp's ``exp_on_negative_values`` of ``-d s_x`` with 26 binary places, which a Q31 mantissa
    makes (``PreprocessSoftmaxScaling``, ``CalculateInputRadius``).

    Raises:
        UnsupportedError: a scale of at most 2**-26, whose multiplier LiteRT does not take.
    """
    scale = np.float64(scale_and_zero(qx, "Softmax")[0])
    real = min(scale * (1 << INPUT_BITS), (1 << Q31) - 1)
    if real <= 1:
        raise UnsupportedError(
            "Softmax",
            "the scale of the input, in steps of 2**-26, is above 1",
            found=f"{float(scale):g}",
            allowed=f"above {2.0**-INPUT_BITS:g}",
            next_step="calibrate the input on data that spreads over its range",
        )
    chosen = choose_fixed(real, _FIXED)
    radius = (REACH << INPUT_BITS) >> int(Q31 - chosen.shift)
    below = np.arange(CODES)
    exponents = multiply(-np.minimum(below, radius), chosen, Rounding.DOUBLE)
    return np.where(below <= radius, _exponential(exponents), 0)


def _exponential(exponents: Int64Array) -> Int64Array:
    """A polynomial for what is left of the last quarter, times a constant for each bit above."""
    rest = (exponents & (_QUARTER - 1)) - _QUARTER
    value = _near_zero(rest << (Q31 - INPUT_BITS))
    bits = rest - exponents
    for place, power in enumerate(_POWERS, start=INPUT_BITS - 2):
        value = np.where(bits & (1 << place), high(value, power), value)
    return np.where(exponents == 0, (1 << Q31) - 1, value)


def _near_zero(value: Int64Array) -> Int64Array:
    """``exp`` of [-1/4, 0): ``exp(-1/8) (1 + x + x**2/2 + x**3/6 + x**4/24)`` around -1/8."""
    x = value + (1 << (Q31 - 3))
    square = high(x, x)
    cube, fourth = high(square, x), high(square, square)
    tail = high(shift_right(fourth, 2, Rounding.HALF_AWAY) + cube, _THIRD) + square
    series = x + shift_right(tail, 1, Rounding.HALF_AWAY)
    return _EXP_EIGHTH + high(np.asarray(_EXP_EIGHTH), series)


def high(a: Int64Array, b: Int64Array | int) -> Int64Array:
    """``a b / 2**31`` half up: gemmlowp's ``SaturatingRoundingDoublingHighMul``."""
    return shift_right(a * b, Q31, Rounding.HALF_UP)


def sum_overflow(most: int) -> AccumulatorOverflowError:
    """The refusal of a row whose exponentials have a sum of ``MOST_SUM`` or more."""
    return AccumulatorOverflowError(
        "Softmax",
        "the exponentials of a row, 1 the largest, have a sum that LiteRT's fixed point divides by",
        found=f"{most / (1 << SUM_BITS):g}",
        allowed=f"below {MOST_SUM >> SUM_BITS}",
        next_step="take the Softmax over fewer elements, or raise the scale of its input",
    )
