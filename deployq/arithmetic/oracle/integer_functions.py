"""LeakyRelu and HardSwish as integer kernels compute them, without a table (``Functions.INTEGER``).

LiteRT: ``reference/leaky_relu.h``, ``reference/hard_swish.h`` and their Prepare in
``kernels/activations.cc``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.multiplier import choose_fixed, multiply
from deployq.arithmetic.precisions import real_multiplier
from deployq.arithmetic.requant_words import Mantissa
from deployq.arithmetic.rounding import Int64Array, shift_right
from deployq.errors import UnsupportedError
from deployq.qparams import QParams

FINER = 7
"""Bits that HardSwish's input gains before its first multiplication."""
REACH = 3.0
"""Where HardSwish's gate has opened; its codes are in units of REACH / 2**15."""
WORD = 15
"""Bits of a 16-bit integer beside its sign."""
SHORT = Form(Kind.FIXED, multiplier_bits=WORD, mantissa=Mantissa.REDUCED)


def leaky_relu(x: Int64Array, qx: QParams, out: QParams, form: Form, alpha: float) -> Int64Array:
    """``x * s_x / s_y``, below zero ``x * s_x * alpha / s_y``: a fixed multiplier each.

    Args:
        x: input codes without their zero point.
        form: FIXED, with the precision of both ratios.
        alpha: slope below zero.

    Returns:
        Codes before the zero point and saturation.
    """
    sx, sy = scale_and_zero(qx, "input")[0], scale_and_zero(out, "output")[0]
    ratios = (real_multiplier(sx, np.float32(w), sy, form.precision) for w in (1, alpha))
    above, below = (multiply(x, choose_fixed(real, form), form.rounding) for real in ratios)
    return np.where(x < 0, below, above)


def hard_swish(x: Int64Array, qx: QParams, out: QParams, form: Form, alpha: float) -> Int64Array:
    """``x * gate(x)`` in 16-bit integers.

        h = 2**7 x                        s_h = s_x / 2**7 in float32
        g = h * s_h / (3 / 2**15)         saturated: -3 and 3 are the ends of 16 bits
        y = h * mantissa of s_h / s_y * (g + 2**15) / 2 / 2**15, and then its shift

    Args:
        x: input codes without their zero point.
        form, alpha: not looked at; the steps are LiteRT's.

    Returns:
        Codes before the zero point and saturation.

    Raises:
        UnsupportedError: codes of more than 8 bits, or an output 128 times finer than the input.
    """
    if qx.qtype.bits > 8:
        raise UnsupportedError(
            "HardSwish", "HardSwish in 16-bit steps reads 8-bit codes", found=str(qx.qtype),
            allowed="u8, s8", next_step="quantize its input to 8 bits",
        )  # fmt: skip
    fine = scale_and_zero(qx, "input")[0] * np.float32(2.0**-FINER)
    sy = scale_and_zero(out, "output")[0]
    mantissa, shift = _short(fine / sy)
    if shift > 0:
        raise UnsupportedError(
            "HardSwish", "the output is at most 128 times finer than the input",
            found=f"scales {float(fine * 2**FINER):g} and {float(sy):g}",
            next_step="calibrate the output on data that spreads over its range",
        )  # fmt: skip
    h = x << FINER
    gate = (_gate(h, fine) + (1 << WORD)) >> 1
    product = gate * _high_multiply(h, mantissa)
    whole = np.sign(product) * (np.abs(product) >> WORD)  # cut off toward zero
    return shift_right(whole, -shift, Rounding.HALF_AWAY)


def _gate(h: Int64Array, fine: np.float32) -> Int64Array:
    """``h`` in units of 3 / 2**15, saturated on the way as 16-bit registers are."""
    mantissa, shift = _short(fine / np.float32(REACH / (1 << WORD)))
    left = max(shift, 0)
    value = _saturated(h << max(left - 1, 0))
    value = _saturated(_high_multiply(value, mantissa) << min(left, 1))
    return shift_right(value, max(-shift, 0), Rounding.HALF_AWAY)


def _short(real: np.float32) -> tuple[int, int]:
    """The upper 16 bits of a Q31 mantissa, half up, and its shift to the left."""
    chosen = choose_fixed(np.float64(real), SHORT)
    return int(chosen.mantissa), WORD - int(chosen.shift)


def _high_multiply(a: Int64Array, b: int) -> Int64Array:
    """The upper half of twice a product of 16-bit integers, ties away from zero but for -1/2."""
    product = a * b
    nudged = product + np.where(product >= 0, 1 << (WORD - 1), 1 - (1 << (WORD - 1)))
    upper: Int64Array = np.sign(nudged) * (np.abs(nudged) >> WORD)
    return upper


def _saturated(values: Int64Array) -> Int64Array:
    return np.clip(values, -(1 << WORD), (1 << WORD) - 1)


INTEGER_FUNCTIONS: dict[str, Callable[[Int64Array, QParams, QParams, Form, float], Int64Array]] = {
    "LeakyRelu": leaky_relu,
    "HardSwish": hard_swish,
}
"""ONNX operator to its integer steps."""
