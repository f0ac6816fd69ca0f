"""LiteRT's two Softmax: next to reals, the torch twin, what they refuse, Vela's table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.kernels import softmax as kernels
from deployq.arithmetic.litert_softmax import fixed_exponentials, float_exponentials
from deployq.arithmetic.oracle.softmax import softmax
from deployq.arithmetic.requant_words import LITERT_SHARES, Softmax
from deployq.errors import AccumulatorOverflowError, UnsupportedError
from deployq.qparams import IntArray, QParams
from deployq.qtypes import QType
from tests.arithmetic.cases import S8, S32, U8, Draw, assert_codes, narrow_qtypes, seeds, tensor

FORMS = [Form(Kind.FIXED, softmax=word) for word in LITERT_SHARES]
FIXED = FORMS[LITERT_SHARES.index(Softmax.GEMMLOWP)]
forms = st.sampled_from(FORMS)


def shares_of(qtype: QType) -> QParams:
    return QParams(qtype, np.float32(1 / 256), np.asarray(qtype.qmin))


def scaled(scale: float, qtype: QType = S8) -> QParams:
    return QParams(qtype, np.float32(scale))


@settings(max_examples=60, deadline=None)
@given(seeds, narrow_qtypes, st.sampled_from([S8, U8]), st.integers(1, 300), forms)
def test_shares_are_next_to_reals(seed: int, xt: QType, yt: QType, length: int, form: Form) -> None:
    draw, out = Draw(seed), shares_of(yt)
    qx, x = scaled(float(draw.scale()), xt), draw.codes(xt, 5, length)
    found = softmax(x, qx, out, form)
    reals = np.exp((x - x.max(-1, keepdims=True).astype(np.int64)) * np.float64(qx.scale))
    wanted = np.minimum(256 * reals / reals.sum(-1, keepdims=True), 255) + yt.qmin
    # exponentials that are added are off by half of a step of 2**-19, and by 3e-7 before that
    slack = 256 * ((2.0**-20 + 3e-7) * length + 3e-7)
    assert (np.abs(found.astype(np.int64) - wanted) <= 0.5 + slack).all()
    assert_codes(kernels.softmax(tensor(x), qx, out, form), found, out)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.softmax.value)
def test_bounds_are_kept(form: Form) -> None:
    x, qx = Draw(0).codes(S8, 4, 6), scaled(0.05)
    codes = softmax(x, qx, shares_of(S8), form, bounds=(-120, 9))
    assert (codes.min(), codes.max()) == (-120, 9)
    twin = kernels.softmax(tensor(x), qx, shares_of(S8), form, bounds=(-120, 9))
    assert_codes(twin, codes, shares_of(S8))


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-7, 60))
def test_exponentials_fall_from_one(scale: float) -> None:
    fixed, exact = fixed_exponentials(scaled(scale)), float_exponentials(scaled(scale))
    assert fixed[0] == (1 << 31) - 1 and (np.diff(fixed) <= 0).all() and fixed[-1] >= 0
    # what the series leaves out, x**5 / 120 of 1/8, and exp(-15.5), from which on entries may be 0
    np.testing.assert_allclose(fixed / 2.0**31, exact, atol=3e-7, rtol=0)


def equal_rows(length: int) -> IntArray:
    return np.zeros((2, length), np.int8)


def test_a_sum_of_512_is_one_too_many() -> None:
    qx, out = scaled(0.1), shares_of(S8)
    assert (softmax(equal_rows(511), qx, out, FIXED) == -127).all()
    for function, rows in ((softmax, equal_rows(512)), (kernels.softmax, tensor(equal_rows(512)))):
        with pytest.raises(AccumulatorOverflowError, match=r"found: 512\s+allowed: below 512"):
            function(rows, qx, out, FIXED)
    exact = next(form for form in FORMS if form is not FIXED)
    assert (softmax(equal_rows(512), qx, out, exact) == -127).all()  # half of a code, away from 0


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.softmax.value)
@pytest.mark.parametrize(
    ("qx", "out", "found"),
    [
        (scaled(0.1, S32), shares_of(S8), "found: s32"),
        (scaled(0.1), QParams(S8, np.float32(1 / 255), np.asarray(-128)), "one grid"),
        (scaled(0.1), QParams(S8, np.float32(1 / 256)), "one grid"),
        (scaled(0.1), QParams(QType(16, True), np.float32(1 / 256)), "one grid"),
    ],
)
def test_other_grids_are_refused(qx: QParams, out: QParams, found: str, form: Form) -> None:
    x = equal_rows(3).astype(qx.qtype.dtype)
    for function, codes in ((softmax, x), (kernels.softmax, tensor(x))):
        with pytest.raises(UnsupportedError, match=found):
            function(codes, qx, out, form)


def test_a_scale_without_a_multiplier_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"found: 1e-08\s+allowed: above 1.49012e-08"):
        softmax(equal_rows(3), scaled(1e-8), shares_of(S8), FIXED)


def test_the_form_s_other_words_are_not_looked_at() -> None:
    x, qx, out = Draw(3).codes(S8, 9, 7), scaled(0.03), shares_of(S8)
    other = replace(FIXED, multiplier_bits=8, kind=Kind.FLOAT32)
    np.testing.assert_array_equal(softmax(x, qx, out, other), softmax(x, qx, out, FIXED))


@pytest.mark.parametrize("scale", [1e-6, 1 / 256, 0.0173, 0.2, 3.0, 31.0, 40.0])
def test_vela_makes_the_same_table(scale: float) -> None:
    vela = pytest.importorskip("ethosu.vela.softmax", reason="needs deployq[ethos-u]")
    table = vela.SoftMax(None).generate_exp_table(1.0, np.float32(scale))
    np.testing.assert_array_equal(fixed_exponentials(scaled(scale)), table[::-1])
