"""Bias and zero point in the accumulator: their unit, 32 bits, and where there is room."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.folding import cut_offsets, folded_zero, roomy_multiplier
from deployq.arithmetic.layer_scales import LayerScales
from deployq.arithmetic.requant_words import ScalePrecision, ZeroPointPlace
from deployq.qparams import QParams
from deployq.qtypes import QType
from deployq_targets import load_profile

HTP = load_profile("qnn-htp").contract()
CONV, GROUPED, BY_2 = (
    HTP.form(name) for name in ("Conv", "Conv_grouped", "Conv_depthwise_by_2")
)  # fmt: skip


U16 = QType(16, signed=False)  # arithmetic on scales alone: the type of the output is no matter


def layer(scales: object, zero_point: int = 0, y_scale: float = 1.0) -> LayerScales:
    out = QParams(U16, np.asarray(y_scale, np.float32), np.asarray(zero_point))
    return LayerScales(np.float32(1), np.asarray(scales, np.float32), out, 2, 1)


def joined(
    scales: object, bias: list[int], zero_point: int = 0, form: Form = CONV, y_scale: float = 1.0
) -> list[int]:
    codes = np.array(bias)
    found = folded_zero(layer(scales, zero_point, y_scale), form, codes) + codes
    return [int(code) for code in np.broadcast_to(found, (1, len(bias)))[0]]


def test_the_largest_bias_leaves_few_bits_to_the_others() -> None:
    whole, some = [1 << 28, -7, 6, 5, 3], [1 << 29, -7, 6, 5, 3]
    assert joined([0.5] * 5, whole) == whole
    assert joined([0.5] * 5, some) == [1 << 29, -8, 6, 4, 4]
    assert joined(0.5, some) == some  # one scale for all
    assert joined([0.5] * 5, [0] * 5) == [0] * 5


def test_zero_point_rounds_with_the_bias_or_apart_from_it() -> None:
    """61 steps of 1/2 are 30 and a half."""
    for form, expected in ((GROUPED, [-370, 431]), (BY_2, [-369, 431])):
        assert joined([2.0, 2.0], [-400, 400], 61, form) == expected
    none = folded_zero(layer(2.0, 61), CONV, None)
    assert int(none) == 31


def test_what_32_bits_do_not_hold_wraps() -> None:
    """The zero point alone is worth 2**31; float32 has no place for 5 beside it."""
    assert joined([2.0**-24], [5], 128) == [-(1 << 31)]
    assert joined([2.0**-24], [5], 127) == [127 << 24]
    wide = HTP.for_codes(16).form("Conv")
    bias = np.array([5])
    zero = folded_zero(layer([2.0**-24], 128), wide, bias)
    _, after = cut_offsets(bias, zero, None, 8, layer([2.0**-24]))
    assert after.item() == 1 << 23  # of 256 each
    zero = folded_zero(layer([2.0**-24], 128 << 8), wide, bias)
    assert cut_offsets(bias, zero, None, 8, layer([2.0**-24]))[1].item() == -(1 << 31)


def test_a_bias_shrinks_as_its_multiplier_is_raised() -> None:
    """3.5e-8 becomes 7e-8."""
    assert joined([1.0, 3.5e-8], [3, 1000]) == [3, 500]
    assert joined([1.0, 3.5e-8], [3, 1000], form=GROUPED) == [3, 1000]


@pytest.mark.parametrize(
    ("form", "units", "zero_point", "least"),
    [
        (CONV, 0.0, 0, 2.0**-24),
        (CONV, 512.0, 0, 2.0**-19),
        (CONV, 0.0, 128, 2.0**-23),
        (GROUPED, 0.0, 0, 2.0**-24),
        (BY_2, 0.0, 0, 2.0**-16),
        (HTP.for_codes(16).form("Conv"), 0.0, 1 << 15, 2.0**-23),
        (Form(Kind.FIXED), 512.0, 128, 0.0),
    ],
)
def test_multipliers_with_room(form: Form, units: float, zero_point: int, least: float) -> None:
    (found,) = roomy_multiplier(np.array([-units]), zero_point, form)
    # least_multiplier keeps half a step of the mantissa away from its end
    assert least <= found <= least * (1 + 2.0**-10)


def test_room_keeps_every_bit() -> None:
    """At that multiplier the bias is in whole steps and nothing wraps, whatever the others are."""
    units, zero_point = np.array([-90.0, 200.0]), 200
    scales = [*roomy_multiplier(units, zero_point, CONV), 0.01]
    bias = [*np.rint(units / scales[:2]).astype(int), -77]
    found = joined(scales, bias, zero_point)
    expected = [b + zero_point / float(np.float32(s)) for b, s in zip(bias, scales, strict=True)]
    # float32 holds 24 bits of a sum below 2**30
    np.testing.assert_allclose(found, expected, rtol=2.0**-23, atol=0.51)


def test_words_of_the_zero_point() -> None:
    plain = Form(Kind.FIXED, scale_precision=ScalePrecision.F32_RELATIVE)
    places = [place for place in ZeroPointPlace if replace(plain, zero_point=place).folds_zero]
    assert places == [ZeroPointPlace.ACCUMULATOR, ZeroPointPlace.ACCUMULATOR_APART]
