"""Biases that are added between multiplication and shift."""

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
from deployq.arithmetic.multiplier import choose_fixed
from deployq.arithmetic.oracle import requantize as oracle
from deployq.arithmetic.requant_words import ZeroPointPlace
from deployq.errors import AccumulatorOverflowError, UnsupportedError
from deployq.qparams import QParams
from deployq.qtypes import QType
from tests.arithmetic.cases import (
    EXACT,
    FLOAT32,
    SHIFT,
    SINGLE,
    U8,
    Draw,
    assert_codes,
    qtypes,
    rounded,
    seeds,
)

ONE = np.asarray(1, np.float32)
FORMS = [
    EXACT,
    *(Form(Kind.FIXED, mode, multiplier_bits=8) for mode in SINGLE),
    Form(Kind.FIXED, Rounding.HALF_UP, multiplier_bits=8, shared_shift=True),
    Form(Kind.FIXED, Rounding.FLOOR),
]


@settings(max_examples=100, deadline=None)
@given(seeds, qtypes, st.sampled_from(FORMS), st.booleans())
def test_kernel_is_the_oracle(seed: int, yt: QType, form: Form, ties: bool) -> None:
    draw = Draw(seed, ties=ties)
    out, sx, sw = draw.params(yt), draw.scale()[()], draw.scale(6)
    acc, bias = draw.rng.integers(-500, 500, (2, 6, 5)), draw.rng.normal(0, yt.qmax, 6)
    rest: dict[str, Any] = {"channel_axis": 1, "late": bias * out.scale}
    found = kernels.requantize(torch.from_numpy(acc), sx, sw, out, form, **rest)
    assert_codes(found, oracle.requantize(acc, sx, sw, out, form, **rest), out)


@settings(max_examples=60, deadline=None)
@given(seeds, st.sampled_from(SINGLE), st.booleans())
def test_fixed_adds_whole_steps_before_the_shift(seed: int, mode: Rounding, shared: bool) -> None:
    """In Python integers: ``(acc * M + b) / 2**shift``, b the nearest step of ``s_y 2**-shift``."""
    draw = Draw(seed)
    form = Form(Kind.FIXED, mode, multiplier_bits=8, shared_shift=shared)
    out, sw, acc = draw.params(U8), draw.scale(4), draw.rng.integers(-(2**15), 2**15, (30, 4))
    bias = draw.rng.normal(0, 40, 4) * np.float64(out.scale)
    m = choose_fixed(sw.astype(np.float64) / np.float64(out.scale), form)
    codes = [round(Fraction(b) / Fraction(float(out.scale)) * 2**s)
             for b, s in zip(bias.tolist(), m.shift.tolist(), strict=True)]  # fmt: skip
    found = oracle.requantize(acc, ONE, sw, out, form, channel_axis=-1, late=bias)
    for channel, (mantissa, shift) in enumerate(
        zip(m.mantissa.tolist(), m.shift.tolist(), strict=True)
    ):
        exact = [
            rounded(Fraction(a * mantissa + codes[channel]) / Fraction(2) ** shift, mode)
            for a in acc[:, channel].tolist()
        ]
        expected = np.clip(np.array(exact) + int(out.zero_point), 0, 255)
        assert found[:, channel].tolist() == expected.tolist()


def test_exact_adds_reals() -> None:
    out = QParams(U8, np.asarray(0.5, np.float32), np.asarray(10))
    acc, bias = np.array([[0, 3, 8]]), np.array([0.25, -0.3, 1.0])
    found = oracle.requantize(acc, ONE, np.float32(0.25), out, EXACT, late=bias)
    assert found.tolist() == [[10, 11, 16]]  # 0.5, 0.9 and 6.0 above the zero point


def test_a_shift_adds_steps_of_the_sum() -> None:
    out, acc = QParams(U8, ONE), np.array([[3, 5, -4]])
    form = Form(Kind.SHIFT, Rounding.HALF_UP)
    late = oracle.requantize(acc, ONE, np.float32(0.25), out, form, late=np.array([1.25, 0.5, 2]))
    before = oracle.requantize(acc + np.array([5, 2, 8]), ONE, np.float32(0.25), out, form)
    assert late.tolist() == before.tolist() == [[2, 2, 1]]


def test_the_bias_counts_in_the_width_of_the_product() -> None:
    out, acc = QParams(U8, ONE), np.array([[1]])
    for requantize, sums in ((oracle.requantize, acc), (kernels.requantize, torch.from_numpy(acc))):
        run: Any = requantize
        with pytest.raises(AccumulatorOverflowError, match="bias after the scale fits 64-bit"):
            run(sums, ONE, ONE, out, Form(Kind.FIXED), late=np.array([2.0**33]))
        wide = sums * 2**32  # the product has 62 bits, and so has the bias
        for late in (2.0**30, 2.0**32 - 1):  # together they have 62 and 63
            found = run(wide, ONE, ONE, out, Form(Kind.FIXED), late=np.array([late]))
            assert int(found[0, 0]) == 255


@pytest.mark.parametrize("requantize", [oracle.requantize, kernels.requantize])
@pytest.mark.parametrize("form", [
    FLOAT32,
    Form(Kind.FIXED, Rounding.DOUBLE),
    Form(Kind.FIXED, Rounding.NATURAL_PLUS_ONE),
    Form(Kind.FIXED, post_shift=14),
    Form(Kind.FIXED, zero_point=ZeroPointPlace.ACCUMULATOR),
], ids=str)  # fmt: skip
def test_forms_without_a_place_for_it_are_refused(requantize: Any, form: Form) -> None:
    acc: Any = np.ones((1, 2), np.int64)
    acc = torch.from_numpy(acc) if requantize is kernels.requantize else acc
    with pytest.raises(UnsupportedError, match="a bias after the scale is added to"):
        requantize(acc, ONE, ONE, QParams(U8, ONE), form, late=np.ones(2))
    requantize(acc, ONE, ONE, QParams(U8, ONE), SHIFT, late=np.ones(2))
