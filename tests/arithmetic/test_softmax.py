"""Softmax over codes: the definition, the torch twin, ONNX Runtime's kernel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.affine import dequantize, quantize
from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.kernels import softmax as kernels
from deployq.arithmetic.oracle.softmax import softmax
from deployq.arithmetic.requant_words import Softmax
from deployq.errors import UnsupportedError
from deployq.qparams import QParams
from deployq.qtypes import QType
from tests.arithmetic.cases import (
    EXACT,
    FLOAT32,
    S8,
    S32,
    U8,
    Draw,
    assert_codes,
    narrow_qtypes,
    qtypes,
    seeds,
    tensor,
)
from tests.arithmetic.ort_models import VARIANTS, Codes, run_unary

TABLE = replace(FLOAT32, softmax=Softmax.SCALED_TABLE)
INTEGER = Form(Kind.FIXED, Rounding.HALF_UP, softmax=Softmax.INTEGER)
POWER = Form(Kind.SHIFT, Rounding.HALF_UP, softmax=Softmax.INTEGER)
HALF = QParams(U8, np.float32(2.0**-8))


@settings(max_examples=40, deadline=None)
@given(seeds, qtypes, qtypes, st.integers(1, 12))
def test_real_shares_are_quantized(seed: int, xt: QType, yt: QType, length: int) -> None:
    draw = Draw(seed)
    qx, out, x = draw.params(xt), draw.params(yt), draw.codes(xt, 3, length)
    reals = dequantize(x, qx).astype(np.float64)
    powers = np.exp(reals - reals.max(-1, keepdims=True))
    shares = (powers / powers.sum(-1, keepdims=True)).astype(np.float32)
    found = softmax(x, qx, out, EXACT)
    # the sum's order moves the last bit of a share: a code next to a tie may go the other way
    assert np.abs(found.astype(np.int64) - quantize(shares, out)).max() <= 1
    assert (found != quantize(shares, out)).mean() <= 0.05
    assert_codes(kernels.softmax(tensor(x), qx, out, EXACT), found, out)


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from([U8, S8]), st.integers(1, 300))
def test_the_torch_twin_has_the_same_table(seed: int, qtype: QType, length: int) -> None:
    draw = Draw(seed)
    qx, out, x = draw.params(qtype), draw.params(qtype), draw.codes(qtype, 4, length)
    assert_codes(kernels.softmax(tensor(x), qx, out, TABLE), softmax(x, qx, out, TABLE), out)


def test_bounds_are_kept() -> None:
    draw = Draw(0)
    qx, out, x = draw.params(U8), QParams(U8, np.float32(1 / 256)), draw.codes(U8, 4, 6)
    for form in (EXACT, TABLE):
        codes = softmax(x, qx, out, form, bounds=(3, 200))
        assert codes.min() == 3 and codes.max() == 200
        assert_codes(kernels.softmax(tensor(x), qx, out, form, bounds=(3, 200)), codes, out)


@pytest.mark.parametrize("codes", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("scale", [1 / 256, 1 / 300.7, 1 / 128])
@pytest.mark.parametrize("seed", range(3))
def test_the_table_is_that_of_onnxruntime(
    seed: int, scale: float, codes: Codes, tmp_path: Path
) -> None:
    draw, qtype = Draw(seed), codes.qtype
    x = draw.codes(qtype, 2, 3, 40, 5)
    qx = draw.params(qtype, float(draw.scale()) / 16)
    out = QParams(qtype, np.float32(scale), np.asarray(qtype.qmin))
    found = run_unary("Softmax", x, qx, out, tmp_path, codes, axis=-1)
    expected = softmax(x, qx, out, TABLE)
    assert len(np.unique(expected)) > 32
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("xt", "yt"), [(QType(16, True), U8), (U8, QType(16, False)), (S32, U8)])
def test_wide_codes_have_no_table(xt: QType, yt: QType) -> None:
    draw = Draw(0)
    x, qx, out = draw.codes(xt, 2, 3), draw.params(xt), draw.params(yt)
    real = softmax(x, qx, out, EXACT)
    assert np.array_equal(softmax(x, qx, out, TABLE), real)
    assert_codes(kernels.softmax(tensor(x), qx, out, TABLE), real, out)


@settings(max_examples=60, deadline=None)
@given(seeds, narrow_qtypes, qtypes, st.integers(1, 300), st.sampled_from([8, 16, 31]))
def test_integer_shares_are_next_to_reals(
    seed: int, xt: QType, yt: QType, length: int, bits: int
) -> None:
    draw, form = Draw(seed), replace(INTEGER, multiplier_bits=bits)
    qx, out, x = draw.params(xt), draw.params(yt), draw.codes(xt, 5, length)
    found = softmax(x, qx, out, form)
    reals = dequantize(x, qx).astype(np.float64)
    powers = np.exp(reals - reals.max(-1, keepdims=True))
    steps = powers / powers.sum(-1, keepdims=True) / np.float64(out.scale)
    wanted = np.clip(steps + int(out.zero_point), yt.qmin, yt.qmax)
    # an exponential is off by 2**-17 of the largest one, their sum by that times the length
    slack = (2.0**-17 * (1 + length / 4) + 2.0**-19 + 2.0**-bits) / float(out.scale)
    assert (np.abs(found.astype(np.int64) - wanted) <= 0.5 + slack).all()
    assert_codes(kernels.softmax(tensor(x), qx, out, form), found, out)


def test_integer_shares_of_extreme_rows() -> None:
    """All equal, and one alone: the largest sum, the largest share."""
    out, qx = QParams(U8, np.float32(1 / 255)), QParams(U8, np.float32(0.2))
    rows = np.full((2, 1 << 15), 255, np.uint8)
    rows[1, 1:] = 0
    found = softmax(rows, qx, out, INTEGER)
    assert found[0].max() == 0 and found[1, 0] == 255 and found[1, 1:].max() == 0
    assert_codes(kernels.softmax(tensor(rows), qx, out, INTEGER), found, out)
    assert_codes(
        kernels.softmax(tensor(rows), qx, HALF, POWER), softmax(rows, qx, HALF, POWER), HALF
    )


def test_integer_shares_refuse_what_their_table_does_not_hold() -> None:
    draw = Draw(0)
    wide, out = draw.params(QType(16, True)), draw.params(U8)
    with pytest.raises(UnsupportedError, match="table over codes of up to 8 bits"):
        softmax(draw.codes(wide.qtype, 2, 3), wide, out, INTEGER)
    with pytest.raises(UnsupportedError, match="have a sum of 31 bits"):
        softmax(np.zeros((1, (1 << 15) + 1), np.uint8), draw.params(U8), out, INTEGER)
    for form in (replace(EXACT, softmax=Softmax.INTEGER), replace(INTEGER, post_shift=14)):
        with pytest.raises(UnsupportedError, match="Softmax"):
            softmax(draw.codes(U8, 2, 3), draw.params(U8), out, form)
