"""Gelu as LiteRT fills its table: every step in float32 (``Functions.FLOAT32``).

    v = 0.5 x erfc(-x / sqrt(2)), or 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x x x)))
    y = clip(round_half_away(v * (1 / s_y)) + z_y)

erfc and tanh are rounded correctly here; the math library's may differ in the last bit.

Source: LiteRT's kernels (``reference/gelu.h``, ``lut.h``), executed: ``benchmarks.litert_parity``.
"""

from __future__ import annotations

import math

import numpy as np

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.float32 import Float32Array
from deployq.arithmetic.rounding import Float64Array, Int64Array
from deployq.qparams import QParams

_HALF, _ONE, _CUBE = np.float32(0.5), np.float32(1.0), np.float32(0.044715)
_SLOPE, _ROOT = np.float32(math.sqrt(2.0 / math.pi)), np.float32(-math.sqrt(0.5))


def gelu(x: Float32Array, approximate: str) -> Float32Array:
    """The function of float32 reals.

    Args:
        approximate: ``none`` or ``tanh``.
    """
    if approximate == "tanh":
        inner = _SLOPE * (x + _CUBE * x * x * x)
        gate = _ONE + np.tanh(inner.astype(np.float64)).astype(np.float32)
    else:
        tails = [math.erfc(value) for value in (x * _ROOT).astype(np.float64).ravel()]
        gate = np.array(tails, np.float32).reshape(x.shape)
    made: Float32Array = _HALF * x * gate
    return made


def rounded_away(values: Float32Array, out: QParams) -> Int64Array:
    """Codes of float32 reals, ties away from 0 before the zero point comes."""
    scale, zero = scale_and_zero(out, "output")
    steps: Float64Array = (values * (_ONE / scale)).astype(np.float64)
    away = np.copysign(np.floor(np.abs(steps) + 0.5), steps) + zero
    codes: Float64Array = np.clip(away, out.qtype.qmin, out.qtype.qmax)
    return codes.astype(np.int64)
