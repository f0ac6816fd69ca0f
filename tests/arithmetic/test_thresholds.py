"""Codes counted by integer thresholds: real arithmetic with any single rounding, exactly."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.kernels import requantize as kernels
from deployq.arithmetic.oracle import requantize as oracle
from deployq.arithmetic.requant_words import ScalePrecision, ZeroPointPlace
from deployq.arithmetic.thresholds import layer_thresholds
from deployq.errors import DeployqError, ProfileError, UnsupportedError
from deployq.qparams import QParams
from deployq.qtypes import QType
from tests.arithmetic.cases import (
    EXACT,
    S8,
    SINGLE,
    U8,
    Draw,
    assert_codes,
    narrow_qtypes,
    rounded,
    seeds,
)

ONE = np.asarray(1, np.float32)
MODES = st.sampled_from(SINGLE)
FORMS = {mode: Form(Kind.THRESHOLDS, mode) for mode in SINGLE}


def real_of(sx: Any, sw: Any, out: QParams) -> Fraction:
    return Fraction(float(sx)) * Fraction(float(sw)) / Fraction(float(out.scale))


@settings(max_examples=150, deadline=None)
@given(seeds, narrow_qtypes, MODES, st.booleans(), st.sampled_from([1, -1]), st.booleans())
def test_codes_are_those_of_real_arithmetic(
    seed: int, yt: QType, mode: Rounding, ties: bool, axis: int, each: bool
) -> None:
    """Per channel and per layer, either sign, with as many ties as powers of two have."""
    draw = Draw(seed, ties=ties)
    out, sx, sw = draw.params(yt), draw.scale()[()], draw.scale(4 if each else None)
    span = int(yt.qmax * draw.rng.choice([0.1, 2, 50])) + 4
    acc = draw.rng.integers(-span, span, (2, 4, 3, 4))
    found = oracle.requantize(acc, sx, sw, out, FORMS[mode], channel_axis=axis)
    real = [real_of(sx, scale, out) for scale in np.broadcast_to(sw, 4)]
    expected = np.empty_like(acc)
    for index in np.ndindex(*acc.shape):
        code = rounded(int(acc[index]) * real[index[axis]], mode) + int(out.zero_point)
        expected[index] = min(max(code, yt.qmin), yt.qmax)
    np.testing.assert_array_equal(found, expected)
    there = torch.from_numpy(acc)
    for sums in (there, there.float(), there.to(memory_format=torch.channels_last)):
        codes = kernels.requantize(sums, sx, sw, out, FORMS[mode], channel_axis=axis)
        assert_codes(codes, found, out)


@settings(max_examples=150, deadline=None)
@given(seeds, narrow_qtypes, MODES, st.booleans())
def test_a_threshold_is_the_first_sum_of_its_code(
    seed: int, yt: QType, mode: Rounding, ties: bool
) -> None:
    draw = Draw(seed, ties=ties)
    out, sx, sw = draw.params(yt), draw.scale()[()], draw.scale(2)
    found = layer_thresholds(sx, sw, out, mode)
    assert found.shape == (2, 2**yt.bits - 1) and not found.flags.writeable
    for scale, row in zip(sw, found.tolist(), strict=True):
        real = real_of(sx, scale, out)
        for code, least in enumerate(row, yt.qmin + 1):
            assert rounded(least * real, mode) >= code - int(out.zero_point)
            assert rounded((least - 1) * real, mode) < code - int(out.zero_point)


@settings(max_examples=60, deadline=None)
@given(seeds, narrow_qtypes)
def test_half_even_with_powers_of_two_is_what_the_file_says(seed: int, yt: QType) -> None:
    draw = Draw(seed, ties=True)  # float64 is exact there
    out, sx, sw = draw.params(yt), draw.scale()[()], draw.scale(3)
    acc = draw.rng.integers(-500, 500, (5, 3))
    counted = oracle.requantize(acc, sx, sw, out, FORMS[Rounding.HALF_EVEN])
    np.testing.assert_array_equal(counted, oracle.requantize(acc, sx, sw, out, EXACT))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (Rounding.HALF_EVEN, [-2, -1, 2, 3, 6, 7]),
        (Rounding.HALF_UP, [-3, -1, 1, 3, 5, 7]),
        (Rounding.HALF_AWAY, [-2, 0, 1, 3, 5, 7]),
        (Rounding.HALF_DOWN, [-2, 0, 2, 4, 6, 8]),
        (Rounding.HALF_ZERO, [-3, -1, 2, 4, 6, 8]),
        (Rounding.FLOOR, [-2, 0, 2, 4, 6, 8]),
        (Rounding.TRUNC, [-3, -1, 2, 4, 6, 8]),
    ],
)
def test_thresholds_of_half_a_code_by_hand(mode: Rounding, expected: list[int]) -> None:
    """Sums of half a code: the codes -1 to 4 of 3 bits from -2."""
    out = QParams(QType(3, False), ONE, np.asarray(2))
    found = layer_thresholds(ONE, np.float32(0.5), out, mode)
    assert found[0, :6].tolist() == expected


def test_what_float64_takes_for_a_tie_is_none() -> None:
    """``acc * s_x * s_w`` is 1 short of ``61.5 * s_y``, in units of 2**-26."""
    sx, sw = np.float32(6268247), np.float32(2.0**-26)
    out, acc = QParams(U8, np.asarray(8388609, np.float32)), np.array([[5523302809]])
    assert acc.item() * real_of(sx, sw, out) < Fraction(123, 2)
    assert oracle.requantize(acc, sx, sw, out, EXACT).tolist() == [[62]]
    for mode in SINGLE:
        assert oracle.requantize(acc, sx, sw, out, FORMS[mode]).tolist() == [[61]]


def test_what_64_bits_do_not_hold_is_always_or_never_reached() -> None:
    tiny, out = np.float32(2.0**-60), QParams(U8, ONE, np.asarray(100))
    found = layer_thresholds(tiny, tiny, out, Rounding.HALF_UP)[0]
    ends = np.iinfo(np.int64)
    assert set(found.tolist()) == {ends.min, ends.max} and (found == ends.min).sum() == 100
    acc = np.array([[-(2**62), 0, 2**62]])
    codes = oracle.requantize(acc, tiny, tiny, out, FORMS[Rounding.HALF_UP])
    assert codes.tolist() == [[100] * 3]
    counted = kernels.requantize(torch.from_numpy(acc), tiny, tiny, out, FORMS[Rounding.HALF_UP])
    assert counted.tolist() == [[100] * 3]


def test_bounds_narrow_the_codes() -> None:
    out, acc = QParams(S8, ONE, np.asarray(3)), np.array([[-9, 0, 4, 900]])
    form = FORMS[Rounding.HALF_UP]
    found = oracle.requantize(acc, ONE, ONE, out, form, bounds=(3, 6))
    assert found.tolist() == [[3, 3, 6, 6]]
    codes = kernels.requantize(torch.from_numpy(acc), ONE, ONE, out, form, bounds=(3, 6))
    assert_codes(codes, found, out)


@pytest.mark.parametrize("requantize", [oracle.requantize, kernels.requantize])
@pytest.mark.parametrize(
    ("form", "bits", "rest", "error", "text"),
    [
        (Form(Kind.THRESHOLDS), 9, {}, UnsupportedError, r"8 bits at most(?s:.)*511 thresholds"),
        (Form(Kind.THRESHOLDS, Rounding.DOUBLE), 8, {}, ProfileError, "rounds once"),
        (Form(Kind.THRESHOLDS, Rounding.NATURAL_PLUS_ONE), 8, {}, ProfileError, "rounds once"),
        (
            Form(Kind.THRESHOLDS, scale_precision=ScalePrecision.F32), 8, {},
            UnsupportedError, "scale_precision = f32",
        ),
        (
            Form(Kind.THRESHOLDS, zero_point=ZeroPointPlace.ACCUMULATOR), 8, {},
            UnsupportedError, "zero_point = accumulator",
        ),
        (Form(Kind.THRESHOLDS, post_shift=14), 8, {}, UnsupportedError, "post_shift = 14"),
        (
            Form(Kind.THRESHOLDS), 8, {"late": np.ones(2)},
            UnsupportedError, "a bias after the scale",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_what_has_no_meaning_is_refused(
    requantize: Any, form: Form, bits: int, rest: Any, error: type[DeployqError], text: str
) -> None:
    acc: Any = np.ones((1, 2), np.int64)
    acc = torch.from_numpy(acc) if requantize is kernels.requantize else acc
    with pytest.raises(error, match=text):
        requantize(acc, ONE, ONE, QParams(QType(bits, False), ONE), form, **rest)
