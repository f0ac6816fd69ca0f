"""LeakyRelu and HardSwish in integers, beside the same steps one code at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.oracle.lookup import UnaryParams, lookup_table
from deployq.arithmetic.requant_words import Functions, ScalePrecision
from deployq.errors import ProfileError, UnsupportedError
from deployq.qparams import QParams
from deployq.qtypes import QType
from tests.arithmetic.cases import S8, U8

BASE = Form(
    Kind.FIXED, Rounding.DOUBLE, scale_precision=ScalePrecision.F32, functions=Functions.INTEGER
)
SIXTEEN = QType(16, True)
codes = st.integers(-128, 127)


def grid(scale: float, zero_point: int = 0, qtype: QType = S8) -> QParams:
    return QParams(qtype, np.asarray(scale, np.float32), np.asarray(zero_point))


def clipped(code: int, out: QParams) -> int:
    return max(-128, min(127, code + int(out.zero_point)))


def half_away(value: int, bits: int) -> int:
    """``value / 2**bits``; to the left where ``bits`` is below 0."""
    if bits <= 0:
        return value << -bits
    return (abs(value) + (1 << (bits - 1)) >> bits) * (1 if value >= 0 else -1)


def high(a: int, b: int, bits: int) -> int:
    """gemmlowp's SaturatingRoundingDoublingHighMul, without its one overflow."""
    nudged = a * b + ((1 << (bits - 1)) if a * b >= 0 else 1 - (1 << (bits - 1)))
    return (abs(nudged) >> bits) * (1 if nudged >= 0 else -1)


def q31(real: np.floating) -> tuple[int, int]:
    """TFLite's QuantizeMultiplier: mantissa and shift to the left."""
    fraction, exponent = math.frexp(float(real))
    mantissa = math.floor(fraction * 2**31 + 0.5)
    return (mantissa >> 1, exponent + 1) if mantissa == 2**31 else (mantissa, exponent)


def sloped(x: int, ratio: np.floating) -> int:
    """TFLite's MultiplyByQuantizedMultiplier."""
    mantissa, left = q31(ratio)
    return half_away(high(x << max(left, 0), mantissa, 31), max(-left, 0))


def short(real: np.floating) -> tuple[int, int]:
    mantissa, left = q31(real)
    return min(mantissa + (1 << 15) >> 16, 32767), left


def saturated(value: int) -> int:
    return max(-32768, min(32767, value))


def hard_swish(x: int, sx: np.float32, sy: np.float32) -> int:
    """``reference_ops::HardSwish``."""
    fine, h = sx / np.float32(128), x * 128
    mantissa, left = short(fine / sy)
    gate_mantissa, gate_left = short(fine / np.float32(3 / 32768))
    gate = saturated(h << (gate_left - 1)) if gate_left > 0 else h
    gate = high(gate, gate_mantissa, 15)
    gate = saturated(gate << 1) if gate_left > 0 else half_away(gate, -gate_left)
    gate = (gate + (1 << 15)) >> 1
    product = gate * high(h, mantissa, 15)
    return half_away((abs(product) >> 15) * (1 if product >= 0 else -1), -left)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.002, 0.2), st.floats(0.2, 5), st.sampled_from([0.01, 0.1, 0.5]), codes, codes)
def test_leaky_relu_has_a_multiplier_for_each_side(
    scale: float, gain: float, alpha: float, zero_x: int, zero_y: int
) -> None:
    qx, out = grid(scale, zero_x), grid(scale / gain, zero_y)
    table = lookup_table("LeakyRelu", qx, out, params=UnaryParams(alpha=alpha), form=BASE)
    sx, sy = qx.scale[()], out.scale[()]
    ratios = sx / sy, sx * np.float32(alpha) / sy
    wanted = [clipped(sloped(x, ratios[x < 0]), out) for x in range(-128 - zero_x, 128 - zero_x)]
    assert table.tolist() == wanted


@settings(max_examples=60, deadline=None)
@given(st.floats(0.002, 0.2), st.floats(0.2, 5), codes, codes)
def test_hard_swish_is_in_16_bit_steps(scale: float, gain: float, zero_x: int, zero_y: int) -> None:
    qx, out = grid(scale, zero_x), grid(scale / gain, zero_y)
    table = lookup_table("HardSwish", qx, out, form=BASE)
    sx, sy = qx.scale[()], out.scale[()]
    wanted = [clipped(hard_swish(x, sx, sy), out) for x in range(-128 - zero_x, 128 - zero_x)]
    assert table.tolist() == wanted


def test_unsigned_codes_are_the_same_128_higher() -> None:
    for function in ("LeakyRelu", "HardSwish"):
        signed = lookup_table(function, grid(0.05, -7), grid(0.03, 4), form=BASE)
        higher = grid(0.05, 121, U8), grid(0.03, 132, U8)
        assert lookup_table(function, *higher, form=BASE).tolist() == (signed + 128).tolist()


def test_other_functions_stay_exact() -> None:
    q = grid(1 / 64)
    exact = lookup_table("Sigmoid", q, q)
    assert lookup_table("Sigmoid", q, q, form=BASE).tolist() == exact.tolist()


def test_what_the_steps_do_not_take_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="16-bit steps reads 8-bit codes"):
        lookup_table("HardSwish", grid(0.1, 0, SIXTEEN), grid(0.1), form=BASE)
    with pytest.raises(UnsupportedError, match="at most 128 times finer"):
        lookup_table("HardSwish", grid(1.0), grid(1 / 256), form=BASE)
    with pytest.raises(ProfileError, match="fixed"):
        lookup_table(
            "LeakyRelu", grid(1.0), grid(0.5), form=Form(Kind.EXACT, functions=Functions.INTEGER)
        )
