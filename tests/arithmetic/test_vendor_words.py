"""The formulas of LiteRT, XNNPACK and HTP, written out and held against oracle and kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.geometry import PoolGeometry
from deployq.arithmetic.kernels import concat as fast_concat
from deployq.arithmetic.kernels import elementwise as fast_elementwise
from deployq.arithmetic.kernels import pooling as fast_pooling
from deployq.arithmetic.kernels import requantize as fast_requantize
from deployq.arithmetic.oracle import concat, elementwise, pooling, requantize
from deployq.arithmetic.precisions import real_multiplier
from deployq.arithmetic.requant_words import Addition, Averaging, ScalePrecision, ZeroPointPlace
from deployq.errors import QuantizationError
from deployq.qparams import QParams
from tests.arithmetic.cases import S8, U8, Draw, assert_codes, seeds, tensor

HTP = Form(
    Kind.FIXED, Rounding.HALF_UP, multiplier_bits=11, post_shift=14,
    scale_precision=ScalePrecision.F32, zero_point=ZeroPointPlace.ACCUMULATOR,
)  # fmt: skip
MEANS = {
    "litert-ref": Form(Kind.FIXED, Rounding.DOUBLE, averaging=Averaging.DIVIDED_MANTISSA),
    "litert-optimized": Form(
        Kind.FIXED,
        Rounding.DOUBLE_HALF_UP,
        scale_precision=ScalePrecision.F32,
        zero_point=ZeroPointPlace.APART,
    ),
    "litert-xnnpack": Form(
        Kind.FLOAT32, scale_precision=ScalePrecision.F32_INVERSE, zero_point=ZeroPointPlace.APART
    ),
    "exact scales, zero points apart": Form(
        Kind.FIXED, Rounding.DOUBLE_HALF_UP, zero_point=ZeroPointPlace.APART
    ),
    "zero point inside the rounding": Form(
        Kind.FLOAT32, scale_precision=ScalePrecision.F64, zero_point=ZeroPointPlace.BEFORE_ROUNDING
    ),
}
WEIGHTED = Form(Kind.FIXED, Rounding.HALF_UP, multiplier_bits=21, addition=Addition.WEIGHTED_SUM)
F32 = np.float32


def clip(value: int) -> int:
    return max(-128, min(127, value))


@settings(max_examples=60, deadline=None)
@given(seeds, st.booleans())
def test_htp_drops_low_bits_and_carries_the_zero_point_in_the_sum(seed: int, ties: bool) -> None:
    draw = Draw(seed, ties=ties)
    out, sx, sw = draw.params(U8), draw.scale()[()], draw.scale(3)
    acc = draw.rng.integers(-60_000, 60_000, (2, 3, 4, 4))
    expected = np.empty_like(acc)
    for channel, scale in enumerate(sw):
        r = float(F32(F32(sx * scale) / F32(out.scale)))
        k = -4 - math.floor(math.log2(r))
        mantissa = math.floor(r * 2.0 ** (k + 14) + 0.5)
        folded = math.floor(int(out.zero_point) / r + 0.5)
        for index in np.ndindex(2, 4, 4):
            total = int(acc[index[0], channel, index[1], index[2]]) + folded
            high = total >> k if k >= 0 else total << -k
            code = (high * mantissa + (1 << 13)) >> 14
            expected[index[0], channel, index[1], index[2]] = max(0, min(255, code))
    found = requantize.requantize(acc, sx, sw, out, HTP)
    np.testing.assert_array_equal(found, expected)
    assert_codes(fast_requantize.requantize(torch.from_numpy(acc), sx, sw, out, HTP), found, out)


def test_a_mantissa_that_rounds_up_to_a_power_of_two_stays_at_htp() -> None:
    out = QParams(U8, F32(1.0), np.asarray(0))
    almost_one = F32(1 - 2.0**-13)  # rounds to 2048, whose sums lose one more bit
    acc = np.arange(-3, 400).reshape(1, 1, 1, -1)
    found = requantize.requantize(acc, F32(1.0), almost_one, out, HTP)
    k = -4 - math.floor(math.log2(float(almost_one)))
    high = acc << -k if k < 0 else acc >> k
    np.testing.assert_array_equal(found, np.clip((high * 2048 + (1 << 13)) >> 14, 0, 255))


@settings(max_examples=60, deadline=None)
@given(seeds, st.booleans())
def test_xnnpack_adds_under_one_shift(seed: int, ties: bool) -> None:
    draw = Draw(seed, ties=ties)
    qa, qb, out = draw.params(S8), draw.params(S8), draw.params(S8)
    a, b = draw.codes(S8, 5, 7), draw.codes(S8, 5, 7)
    real = [float(q.scale) / float(out.scale) for q in (qa, qb)]
    k = 20 - math.floor(math.log2(max(real)))
    ma, mb = (math.floor(r * 2.0**k + 0.5) for r in real)
    if max(ma, mb) == 1 << 21:
        k, (ma, mb) = k - 1, [math.floor(r * 2.0 ** (k - 1) + 0.5) for r in real]
    za, zb, zy = (int(q.zero_point) for q in (qa, qb, out))
    total = (a.astype(np.int64) - za) * ma + (b.astype(np.int64) - zb) * mb
    expected = np.clip(((total + (1 << (k - 1))) >> k) + zy, -128, 127)
    found = elementwise.add(a, qa, b, qb, out, WEIGHTED)
    np.testing.assert_array_equal(found, expected)
    assert_codes(fast_elementwise.add(tensor(a), qa, tensor(b), qb, out, WEIGHTED), found, out)


@settings(max_examples=60, deadline=None)
@given(seeds, st.booleans())
def test_litert_optimised_rescales_operands_once(seed: int, ties: bool) -> None:
    draw = Draw(seed, ties=ties)
    form = Form(Kind.FIXED, Rounding.DOUBLE, addition=Addition.RESCALED_ONCE)
    qa, qb, out = draw.params(S8), draw.params(S8), draw.params(S8)
    a, b = draw.codes(S8, 5, 7), draw.codes(S8, 5, 7)
    sa, sb, sy = (float(q.scale) for q in (qa, qb, out))
    twice = 2 * max(sa, sb)
    expected = np.empty_like(a)
    for index in np.ndindex(a.shape):
        total = 0
        for codes, q, scale in ((a, qa, sa), (b, qb, sb)):
            mantissa, exponent = q31(scale / twice)
            value = (int(codes[index]) - int(q.zero_point) << 20) * mantissa
            total += (value + (1 << (30 - exponent))) >> (31 - exponent)
        code = double(total, *q31(twice / (2.0**20 * sy))) + int(out.zero_point)
        expected[index] = clip(code)
    found = elementwise.add(a, qa, b, qb, out, form)
    np.testing.assert_array_equal(found, expected)
    assert_codes(fast_elementwise.add(tensor(a), qa, tensor(b), qb, out, form), found, out)


ONE_SHIFT = Form(
    Kind.FIXED, Rounding.HALF_UP, multiplier_bits=16, shift_min=8, shift_max=8,
    scale_precision=ScalePrecision.F32,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(seeds, st.sampled_from([1.0, 2.5 / 256, 3 / 8, 5 / 7, 100.5]))
def test_xnnpack_rescales_with_eight_bits_of_fraction(seed: int, gain: float) -> None:
    draw = Draw(seed)
    qx = draw.params(S8)
    out = draw.params(S8, float(qx.scale) / gain)
    x = np.arange(-128, 128).astype(np.int8)
    mantissa = int(np.rint(F32(256) * F32(F32(qx.scale) / F32(out.scale))))  # ties to even
    steps = (x.astype(np.int64) - int(qx.zero_point)) * mantissa + 128 >> 8
    found = concat.rescale(x, qx, out, ONE_SHIFT)
    if qx != out:
        np.testing.assert_array_equal(found, np.clip(steps + int(out.zero_point), -128, 127))
    assert_codes(fast_concat.rescale(tensor(x), qx, out, ONE_SHIFT), found, out)


def test_a_mantissa_beyond_its_bits_under_one_shift_is_refused() -> None:
    qx, out = (QParams(S8, np.asarray(scale, np.float32)) for scale in (256.0, 1.0))
    x = np.zeros(1, np.int8)
    for rescale, codes in ((concat.rescale, x), (fast_concat.rescale, tensor(x))):
        with pytest.raises(QuantizationError, match="one shift of the hardware") as caught:
            rescale(codes, qx, out, ONE_SHIFT)
        assert caught.value.found == "65536 with shift 8"


@settings(max_examples=30, deadline=None)
@given(seeds, st.sampled_from([ZeroPointPlace.AFTER_ROUNDING, None]))
def test_float_products_add_the_zero_point_where_they_are_told(
    seed: int, place: ZeroPointPlace | None
) -> None:
    draw = Draw(seed, ties=True)
    qa, qb, out = draw.params(S8), draw.params(S8), draw.params(S8)
    a, b = draw.codes(S8, 40), draw.codes(S8, 40)
    form = Form(Kind.FLOAT32, zero_point=place)
    product = (a.astype(np.int64) - int(qa.zero_point)) * (b.astype(np.int64) - int(qb.zero_point))
    value = product * float(qa.scale) * float(qb.scale) / float(out.scale)  # exact: powers of two
    zero = int(out.zero_point)
    codes = np.rint(value) + zero if place else np.rint(value + zero)
    found = elementwise.mul(a, qa, b, qb, out, form)
    np.testing.assert_array_equal(found, np.clip(codes, -128, 127))
    assert_codes(fast_elementwise.mul(tensor(a), qa, tensor(b), qb, out, form), found, out)


def q31(real: float) -> tuple[int, int]:
    """LiteRT's multiplier: real = q * 2**(e - 31)."""
    fraction, exponent = math.frexp(real)
    q = math.floor(fraction * (1 << 31) + 0.5)
    return (q // 2, exponent + 1) if q == 1 << 31 else (q, exponent)


def high_multiply(value: int, q: int, e: int) -> tuple[int, int]:
    """gemmlowp's first step, and what is left to shift."""
    return ((value << max(e, 0)) * q + (1 << 30)) >> 31, max(-e, 0)


def double(value: int, q: int, e: int) -> int:
    high, right = high_multiply(value, q, e)
    rest = high & ((1 << right) - 1)
    return (high >> right) + (rest > ((1 << right) - 1 >> 1) + (high < 0))


def double_half_up(value: int, q: int, e: int) -> int:
    high, right = high_multiply(value, q, e)
    return (high + (1 << right >> 1)) >> right


def mean_ref(codes: list[int], qx: QParams, out: QParams) -> int:
    n, zero = len(codes), int(qx.zero_point)
    q, e = q31(float(qx.scale) / float(out.scale))
    k = min(int(math.log2(n)), 32, 31 + e)
    return double(sum(codes) - n * zero, (q << k) // n, e - k) + int(out.zero_point)


def mean_apart(codes: list[int], qx: QParams, out: QParams) -> int:
    ratio = float(qx.scale) / float(out.scale)
    moved = int(qx.zero_point) * ratio
    away = math.floor(abs(moved) + 0.5) * (1 if moved >= 0 else -1)
    scaled = double_half_up(sum(codes), *q31(float(qx.scale) / (len(codes) * float(out.scale))))
    return scaled + int(out.zero_point) - away


def mean_optimized(codes: list[int], qx: QParams, out: QParams) -> int:
    sx, sy = F32(qx.scale), F32(out.scale)
    moved = F32(F32(int(qx.zero_point)) * sx) / sy
    moved = F32(moved + F32(0.5)) if moved > 0 else F32(moved - F32(0.5))
    scaled = double_half_up(sum(codes), *q31(float(sx / F32(F32(len(codes)) * sy))))
    return scaled + int(out.zero_point) - int(moved)


def mean_xnnpack(codes: list[int], qx: QParams, out: QParams) -> int:
    n, zero = len(codes), int(qx.zero_point)
    real = F32(F32(F32(qx.scale) / F32(out.scale)) * F32(F32(1) / F32(n)))
    constant = F32(F32(int(out.zero_point)) - F32(F32(n * zero) * real))
    return int(np.rint(F32(F32(F32(sum(codes)) * real) + constant)))


def mean_inside(codes: list[int], qx: QParams, out: QParams) -> int:
    real = F32(float(qx.scale) / (len(codes) * float(out.scale)))
    total = F32(sum(codes) - len(codes) * int(qx.zero_point))
    return int(np.rint(F32(total * real) + F32(int(out.zero_point))))


@pytest.mark.parametrize(
    ("target", "mean"),
    [
        ("litert-ref", mean_ref),
        ("litert-optimized", mean_optimized),
        ("litert-xnnpack", mean_xnnpack),
        ("exact scales, zero points apart", mean_apart),
        ("zero point inside the rounding", mean_inside),
    ],
)
@settings(max_examples=40, deadline=None)
@given(seed=seeds, ties=st.booleans(), rows=st.integers(1, 8), columns=st.integers(1, 9))
def test_means_of_litert(
    target: str, mean: Callable[..., int], seed: int, ties: bool, rows: int, columns: int
) -> None:
    draw, form = Draw(seed, ties=ties), MEANS[target]
    qx, out = draw.params(S8), draw.params(S8)
    x = draw.codes(S8, 3, 2, rows, columns)
    found = pooling.global_average_pool(x, qx, out, form)
    expected = [[clip(mean(m.ravel().tolist(), qx, out)) for m in maps] for maps in x]
    np.testing.assert_array_equal(found[:, :, 0, 0], expected)
    assert_codes(fast_pooling.global_average_pool(tensor(x), qx, out, form), found, out)


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from([(2, 2), (3, 3), (3, 2)]), st.sampled_from([0, 1]))
def test_windows_of_raw_codes_round_half_away_from_code_zero(
    seed: int, kernel: tuple[int, int], pad: int
) -> None:
    draw = Draw(seed)
    form = Form(Kind.FIXED, Rounding.DOUBLE, averaging=Averaging.RAW_CODES)
    qx, x = draw.params(S8), draw.codes(S8, 2, 2, 6, 7)
    geometry = PoolGeometry(kernel, (2, 1), (pad, pad, pad, pad))
    found = pooling.average_pool(x, qx, qx, form, geometry)
    for index in np.ndindex(*found.shape):
        top, left = index[2] * 2 - pad, index[3] - pad
        rows = slice(max(top, 0), top + kernel[0])
        below = x[index[0], index[1], rows, max(left, 0) : left + kernel[1]].astype(int)
        total, count = int(below.sum()), below.size
        half = count // 2 if total > 0 else -(count // 2)
        assert int(found[index]) == math.trunc((total + half) / count)
    assert_codes(fast_pooling.average_pool(tensor(x), qx, qx, form, geometry), found, qx)


@pytest.mark.parametrize("word", [Averaging.RAW_CODES, Averaging.KEPT_SUM])
def test_kept_means_cannot_change_their_scale(word: Averaging) -> None:
    draw: Any = Draw(0)
    form = Form(Kind.FIXED, Rounding.DOUBLE, averaging=word)
    x = draw.codes(S8, 1, 1, 4, 4)
    for pool, codes in ((pooling, x), (fast_pooling, tensor(x))):
        with pytest.raises(QuantizationError, match="scale and zero point of its input"):
            pool.global_average_pool(codes, draw.params(S8), draw.params(S8), form)


def test_the_steps_of_a_multiplier_are_as_precise_as_they_are_told() -> None:
    x, one, y = F32(0.1), F32(0.3), F32(0.7)
    many = np.array([0.3, 0.9], np.float32)
    exact = float(x) * float(one) / float(y)
    half = float(F32(x * one)) / float(y)
    precisions = {
        ScalePrecision.F64: exact,
        ScalePrecision.F32_PRODUCT: half,
        ScalePrecision.F32_PRODUCT_OF_ONE: half,
        ScalePrecision.F32: float(F32(F32(x * one) / y)),
    }
    assert len(set(precisions.values())) == 3
    for precision, expected in precisions.items():
        assert float(real_multiplier(x, one, y, precision)) == expected
    alone = real_multiplier(x, many[:1], y, ScalePrecision.F32_PRODUCT_OF_ONE)
    assert alone.tolist() == [half]  # a layer of one channel has one scale
    of_many = real_multiplier(x, many, y, ScalePrecision.F32_PRODUCT_OF_ONE)
    np.testing.assert_array_equal(of_many, real_multiplier(x, many, y))


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from([word for word in ScalePrecision if word != "f32_inverse"]))
def test_xnnpack_multiplies_by_a_float32_of_a_stated_precision(
    seed: int, precision: ScalePrecision
) -> None:
    draw, form = Draw(seed), Form(Kind.FLOAT32, scale_precision=precision)
    out, sx, sw = draw.params(S8), draw.scale()[()], draw.scale(3)
    acc = draw.rng.integers(-90_000, 90_000, (2, 3, 5, 5))
    real = real_multiplier(sx, sw, F32(out.scale), precision).astype(np.float32)
    scaled = acc.astype(np.float32) * real.reshape(1, 3, 1, 1)
    expected = np.clip(np.rint(scaled) + int(out.zero_point), -128, 127)
    found = requantize.requantize(acc, sx, sw, out, form)
    np.testing.assert_array_equal(found, expected)
    assert_codes(fast_requantize.requantize(torch.from_numpy(acc), sx, sw, out, form), found, out)


@pytest.mark.parametrize("form", [*MEANS.values(), HTP, WEIGHTED], ids=lambda form: form.kind)
def test_concat_of_equal_parameters_takes_any_form(form: Form) -> None:
    draw = Draw(3)
    q, x = draw.params(S8), draw.codes(S8, 2, 3)
    joined = concat.concat([(x, q), (x, q)], q, 1, form)
    np.testing.assert_array_equal(joined, np.concatenate([x, x], 1))
    assert_codes(fast_concat.concat([(tensor(x), q), (tensor(x), q)], q, 1, form), joined, q)
