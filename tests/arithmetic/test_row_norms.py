"""Normalizations over codes: integers next to real arithmetic, the torch twin, bounds, refusals."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.affine import dequantize
from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.kernels import row_norms as kernels
from deployq.arithmetic.kernels.row_shares import integer_root
from deployq.arithmetic.oracle.row_norms import normalize
from deployq.arithmetic.requant_words import Normalization
from deployq.arithmetic.row_norms import RowNorm, row_integers
from deployq.errors import AccumulatorOverflowError, QuantizationError, UnsupportedError
from deployq.qparams import IntArray, QParams
from deployq.qtypes import QType
from tests.arithmetic.cases import EXACT, S8, S32, U8, Draw, assert_codes, qtypes, seeds, tensor

OPERATORS = st.sampled_from(["LayerNormalization", "RMSNormalization"])
LENGTHS = st.integers(1, 300)
BITS = st.sampled_from([8, 16, 24])
FORM = Form(Kind.FIXED, Rounding.HALF_UP, normalization=Normalization.INTEGER)


def row_norm(draw: Draw, op_type: str, length: int, epsilon: float = 1e-5) -> RowNorm:
    """Gains of both signs, some of them none or next to none."""
    scale = draw.rng.normal(size=length) * draw.rng.choice([1, 1, 1, 0, 1e-7], length)
    bias = draw.rng.normal(size=length).astype(np.float32)
    centred = op_type == "LayerNormalization"
    return RowNorm(op_type, scale.astype(np.float32), bias if centred else None, epsilon)


def real_steps(x: IntArray, qx: QParams, out: QParams, norm: RowNorm) -> np.ndarray:
    """The operator by its definition in float64, in units of the output's scale."""
    reals = dequantize(x, qx).astype(np.float64)
    parts = reals - reals.mean(-1, keepdims=True) if norm.centred else reals
    values = parts / np.sqrt((parts**2).mean(-1, keepdims=True) + np.float32(norm.epsilon))
    values = values * norm.scale + (0 if norm.bias is None else norm.bias)
    return np.asarray(values / np.float64(out.scale))


def saturated(steps: np.ndarray, out: QParams) -> np.ndarray:
    return np.clip(steps + int(out.zero_point), out.qtype.qmin, out.qtype.qmax)


@settings(max_examples=80, deadline=None)
@given(seeds, qtypes, qtypes, LENGTHS, OPERATORS, st.sampled_from([1e-12, 1e-6, 1e-5, 0.1]), BITS)
def test_integers_are_next_to_reals(
    seed: int, xt: QType, yt: QType, length: int, op_type: str, epsilon: float, bits: int
) -> None:
    draw = Draw(seed)
    qx, out, x = draw.params(xt), draw.params(yt), draw.codes(xt, 5, length)
    norm, form = row_norm(draw, op_type, length, epsilon), replace(FORM, multiplier_bits=bits)
    found = normalize(x, qx, out, form, norm)
    # beside half a unit of rounding: vanishing gains, the last bits of mantissa and share
    gain = np.abs(norm.scale) * math.sqrt(length) / float(out.scale)
    steps = real_steps(x, qx, out, norm)
    bound = 0.5 + 2.0**-9 + gain * (2.0**-bits + 2.0**-17)
    wanted = saturated(steps, out)
    assert (np.abs(found.astype(np.int64) - wanted) <= bound).all()
    assert_codes(kernels.normalize(tensor(x), qx, out, form, norm), found, out)


@settings(max_examples=40, deadline=None)
@given(seeds, qtypes, qtypes, LENGTHS, OPERATORS)
def test_reals_are_quantized(seed: int, xt: QType, yt: QType, length: int, op_type: str) -> None:
    draw = Draw(seed)
    qx, out, x = draw.params(xt), draw.params(yt), draw.codes(xt, 5, length)
    norm = row_norm(draw, op_type, length)
    found = normalize(x, qx, out, EXACT, norm)
    wanted = saturated(real_steps(x, qx, out, norm), out)
    # float32 holds 24 bits of a value, so codes of 16 bits move by 2**-8 at most
    assert (np.abs(found.astype(np.int64) - wanted) <= 0.51).all()
    assert_codes(kernels.normalize(tensor(x), qx, out, EXACT, norm), found, out)


@given(st.lists(st.integers(0, (1 << 62) - 1), min_size=1, max_size=50))
def test_the_root_is_the_floor_of_the_root(values: list[int]) -> None:
    squares = [root * root for root in map(math.isqrt, values)]
    for some in (values, squares, [max(0, square - 1) for square in squares]):
        found = integer_root(torch.tensor(some, dtype=torch.int64))
        assert found.tolist() == list(map(math.isqrt, some))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([U8, S8, QType(4, True), QType(16, True)]), st.integers(1, 1600), OPERATORS)
def test_the_extreme_rows_stay_inside_their_words(qtype: QType, length: int, op_type: str) -> None:
    """Half of the codes at each end, one code alone, all equal: the ends of every bound."""
    low, high = qtype.qmin, qtype.qmax
    rows = np.full((4, length), high, np.int64)
    rows[0, : length // 2], rows[1, 0], rows[3, :] = low, low, low
    qx, out = (QParams(q, np.float32(0.01), np.asarray(q.qmin)) for q in (qtype, S8))
    norm = RowNorm(op_type, np.ones(length, np.float32), None, 1e-5)
    known = row_integers(norm, qx, out)
    times = length if norm.centred else 1
    parts = [[int(c) * times - (sum(map(int, row)) if norm.centred else low) for c in row]
             for row in rows]  # fmt: skip
    for row in parts:
        total = (sum(part * part for part in row) << 2 * known.lift) + known.epsilon
        root = math.isqrt(total)
        assert total < 1 << 62
        assert 1 <= root < 1 << 31
        assert max(map(abs, row)) * ((1 << 51) // root) <= 1 << 52
    x = rows.astype(qtype.dtype)
    found = normalize(x, qx, out, FORM, norm)
    assert np.abs(found - saturated(real_steps(x, qx, out, norm), out)).max() <= 0.6
    assert_codes(kernels.normalize(tensor(x), qx, out, FORM, norm), found, out)


def test_equal_codes_leave_the_bias_and_bounds_are_kept() -> None:
    out, bias = QParams(S8, np.float32(0.5)), np.asarray([1, -2, 3, 60], np.float32)
    norm = RowNorm("LayerNormalization", np.ones(4, np.float32), bias)
    x = np.full((2, 4), 77, np.uint8)
    for form in (FORM, EXACT):
        found = normalize(x, QParams(U8, np.float32(1)), out, form, norm, bounds=(0, 100))
        assert found.tolist() == [[2, 0, 6, 100]] * 2


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"kind": Kind.SHIFT}, "shift"),
        ({"kind": Kind.EXACT, "rounding": Rounding.HALF_EVEN}, "exact"),
        ({"post_shift": 14}, "post_shift = 14"),
        ({"rounding": Rounding.DOUBLE}, "rounding double"),
    ],
    ids=str,
)
def test_forms_without_integer_rows_are_refused(change: dict[str, object], found: str) -> None:
    draw, norm = Draw(0), row_norm(Draw(0), "LayerNormalization", 6)
    qx, out, x = draw.params(S8), draw.params(S8), draw.codes(S8, 2, 6)
    for function, codes in ((normalize, x), (kernels.normalize, tensor(x))):
        with pytest.raises(UnsupportedError, match=found):
            function(codes, qx, out, replace(FORM, **change), norm)  # type: ignore[operator]


def test_rows_beyond_62_bits_are_refused() -> None:
    norm = RowNorm("LayerNormalization", np.ones(4, np.float32))
    qx, out = QParams(S32, np.float32(1)), QParams(S8, np.float32(1))
    with pytest.raises(UnsupportedError, match="62 bits hold the sum of squares") as caught:
        normalize(np.zeros((1, 4), np.int32), qx, out, FORM, norm)
    assert "4 elements of s32" in caught.value.found
    coarse = replace(norm, epsilon=1e9)
    with pytest.raises(UnsupportedError, match=r"epsilon 1000000000\.0 on the scale"):
        row_integers(coarse, QParams(S8, np.float32(1e-6)), out)


@pytest.mark.parametrize(
    "norm",
    [
        RowNorm("LayerNormalization", np.asarray([1, np.nan], np.float32)),
        RowNorm("LayerNormalization", np.ones(2, np.float32), np.asarray([np.inf, 0], np.float32)),
        RowNorm("RMSNormalization", np.ones(2, np.float32), None, -1e-5),
    ],
)
def test_numbers_that_make_no_integers_are_refused(norm: RowNorm) -> None:
    with pytest.raises(QuantizationError, match="scale and bias are finite"):
        row_integers(norm, QParams(S8, np.float32(1)), QParams(S8, np.float32(1)))


def test_a_bias_beyond_the_adder_is_refused() -> None:
    norm = RowNorm("LayerNormalization", np.ones(2, np.float32), np.full(2, 1e12, np.float32))
    with pytest.raises(AccumulatorOverflowError, match="a bias after the scale"):
        normalize(np.zeros((1, 2), np.int8), *2 * (QParams(S8, np.float32(1)),), FORM, norm)
