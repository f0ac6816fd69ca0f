"""Softmax over codes: the definition, the torch twin, ONNX Runtime's kernel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.affine import dequantize, quantize
from deployq.arithmetic.kernels import softmax as kernels
from deployq.arithmetic.oracle.softmax import softmax
from deployq.arithmetic.requant_words import Softmax
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
    qtypes,
    seeds,
    tensor,
)
from tests.arithmetic.ort_models import VARIANTS, Codes, run_unary

TABLE = replace(FLOAT32, softmax=Softmax.SCALED_TABLE)


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
