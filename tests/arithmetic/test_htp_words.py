"""The formulas of HTP's 16-bit lanes in Python integers, held against oracle and kernels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.arithmetic.contract import Form
from deployq.arithmetic.kernels import concat as fast_concat
from deployq.arithmetic.kernels import elementwise as fast_elementwise
from deployq.arithmetic.kernels import pooling as fast_pooling
from deployq.arithmetic.kernels import requantize as fast_requantize
from deployq.arithmetic.oracle import concat, elementwise, pooling, requantize
from deployq.arithmetic.precisions import real_multiplier
from deployq.arithmetic.requant_words import ScalePrecision
from deployq.errors import DeployqError
from deployq.qparams import QParams
from deployq_targets import load_profile
from tests.arithmetic.cases import S8, U8, Draw, assert_codes, seeds, tensor

F32 = np.float32


def form(operator: str) -> Form:
    return load_profile("qnn-htp").contract().form(operator)


def byte(value: int) -> int:
    return max(0, min(255, value))


def even(value: float) -> int:
    """Half to even, as Python rounds."""
    return round(value)


def params(scale: float, zero_point: int) -> QParams:
    return QParams(U8, np.asarray(scale, np.float32), np.asarray(zero_point))


def drawn(draw: Draw) -> tuple[QParams, QParams, QParams]:
    """Of two operands and an output; sums and products of the reals fit 8 bits in part."""
    zeros = draw.rng.integers(0, 256, 3)
    sa, sb, sy = np.exp2(draw.rng.uniform([-6, -6, -4], [-3, -3, -1]))
    if draw.ties:
        sa, sb, sy = np.exp2(np.rint(np.log2([sa, sb, sy])))
    return params(sa, zeros[0]), params(sb, zeros[1]), params(sy, zeros[2])


def facts(*qparams: QParams) -> list[Any]:
    return [*(F32(q.scale) for q in qparams), *(int(q.zero_point) for q in qparams)]


@settings(max_examples=60, deadline=None)
@given(seeds, st.booleans())
def test_add_drops_eight_bits_before_the_zero_points_come(seed: int, ties: bool) -> None:
    draw = Draw(seed, ties=ties)
    (qa, qb, out), stated = drawn(draw), form("Add")
    sa, sb, sy, za, zb, zy = facts(qa, qb, out)
    a, b = draw.codes(U8, 50), draw.codes(U8, 50)
    ra, rb = sa * (F32(1) / sy), sb * (F32(1) / sy)
    k = min(14 - math.frexp(float(ra + rb))[1], 15)
    ma, mb = even(float(ra) * 2.0**k), even(float(rb) * 2.0**k)
    constant = (zy << (k - 8)) - ((za * ma + zb * mb + 128) >> 8) + (1 << (k - 8) >> 1)
    expected = [
        byte((((x * ma + y * mb) >> 8) + constant) >> (k - 8))
        for x, y in zip(a.tolist(), b.tolist(), strict=True)
    ]
    found = elementwise.add(a, qa, b, qb, out, stated)
    np.testing.assert_array_equal(found, expected)
    assert_codes(fast_elementwise.add(tensor(a), qa, tensor(b), qb, out, stated), found, out)


@settings(max_examples=60, deadline=None)
@given(seeds, st.booleans())
def test_mul_moves_its_product_into_sixteen_bits(seed: int, ties: bool) -> None:
    draw = Draw(seed, ties=ties)
    (qa, qb, out), stated = drawn(draw), form("Mul")
    sa, sb, sy, za, zb, zy = facts(qa, qb, out)
    a, b = draw.codes(U8, 50), draw.codes(U8, 50)
    real = float(sa / sy * sb)
    k = min(15 - math.frexp(real)[1], 22)
    mantissa = even(real * 2.0**k)
    middle = even((za - 127.5) * (zb - 127.5) / 128)
    constant = ((middle * mantissa + 64) >> 7) + (zy << (k - 15)) + (1 << (k - 16))
    expected = []
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        moved = (x - za) * (y - zb) - 256 * middle
        assert -(1 << 15) <= moved < 1 << 15
        expected.append(byte(((moved * mantissa >> 15) + constant) >> (k - 15)))
    found = elementwise.mul(a, qa, b, qb, out, stated)
    np.testing.assert_array_equal(found, expected)
    assert_codes(fast_elementwise.mul(tensor(a), qa, tensor(b), qb, out, stated), found, out)


@settings(max_examples=60, deadline=None)
@given(seeds, st.booleans())
def test_concat_rounds_twice(seed: int, ties: bool) -> None:
    draw = Draw(seed, ties=ties)
    (qa, qb, _), stated, x = drawn(draw), form("Concat"), draw.codes(U8, 1, 60)
    sa, sb, za, zb = facts(qa, qb)
    k = 15 - math.frexp(float(sa / sb))[1]
    j, mantissa = min(6, k - 8), even(float(sa / sb) * 2.0**k)
    finer = [((c - za) * mantissa + (1 << (k - j - 1))) >> (k - j) for c in x.ravel().tolist()]
    expected = [byte(((h + (1 << (j - 1))) >> j) + zb) for h in finer]
    found = concat.concat([(x, qa)], qb, 1, stated)
    np.testing.assert_array_equal(found[0], expected)
    assert_codes(fast_concat.concat([(tensor(x), qa)], qb, 1, stated), found, qb)


@settings(max_examples=40, deadline=None)
@given(seeds, st.booleans(), st.integers(1, 9), st.integers(2, 9))
def test_global_mean_has_a_mantissa_of_fifteen_bits(
    seed: int, ties: bool, rows: int, columns: int
) -> None:
    draw = Draw(seed, ties=ties)
    (qx, _, out), stated = drawn(draw), form("GlobalAveragePool")
    sx, sy, zx, zy = facts(qx, out)
    x, count = draw.codes(U8, 1, 5, rows, columns), rows * columns
    real = float(sx * (F32(1) / sy)) / count
    k = 15 - math.frexp(real)[1]
    mantissa = math.floor(real * 2.0**k + 0.5)
    sums = [int(m.astype(int).sum()) - count * zx for m in x[0]]
    expected = [byte(((s * mantissa + (1 << (k - 1))) >> k) + zy) for s in sums]
    found = pooling.global_average_pool(x, qx, out, stated)
    np.testing.assert_array_equal(found[0, :, 0, 0], expected)
    assert_codes(fast_pooling.global_average_pool(tensor(x), qx, out, stated), found, out)


def whole(value: np.float32) -> int:
    """Half away from zero, where float32 holds the half."""
    return int(value + np.copysign(F32(0.5), value))


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from([1, -1]), st.integers(10, 31))
def test_bias_and_zero_point_round_as_one_number(seed: int, axis: int, bits: int) -> None:
    draw, stated = Draw(seed), form("Conv")
    out, sx, sw = draw.params(U8), draw.scale()[()], draw.scale(3)
    bias = draw.rng.integers(-300_000, 300_000, 3)
    bias[0] = (1 << bits) - 200_000
    acc = draw.rng.integers(-60_000, 60_000, (40, 3)) + bias
    expected = np.empty_like(acc)
    largest, step = sw.max(), F32(sx * sw.max())
    unit = max(abs(F32(b) * step) for b in bias) / F32(1 << 28)
    for channel, (scale, b) in enumerate(zip(sw, bias, strict=True)):
        r = F32(F32(sx * largest) / F32(out.scale)) * F32(scale / largest)
        k = -4 - math.floor(math.log2(float(r)))
        mantissa = math.floor(float(r) * 2.0 ** (k + 14) + 0.5)
        kept = np.rint(F32(b) * step * (F32(1) / unit)) * unit / step
        joined = whole(kept + F32(int(out.zero_point)) / r)
        assert abs(joined) < 1 << 31
        for row in range(40):
            total = int(acc[row, channel] - b) + joined
            high = total >> k if k >= 0 else total << -k
            expected[row, channel] = byte((high * mantissa + (1 << 13)) >> 14)
    rest: dict[str, Any] = {"channel_axis": axis, "bias": bias}
    found = requantize.requantize(acc, sx, sw, out, stated, **rest)
    np.testing.assert_array_equal(found, expected)
    fast = fast_requantize.requantize(torch.from_numpy(acc), sx, sw, out, stated, **rest)
    assert_codes(fast, found, out)


def test_multipliers_of_lanes_are_as_precise_as_they_are_told() -> None:
    x, w, y = F32(0.92), np.array([0.11, 0.84], np.float32), F32(0.11)
    precisions = {
        ScalePrecision.F32_RELATIVE: x * w[1] / y * (w / w[1]),
        ScalePrecision.F32_RECIPROCAL: x * w * (F32(1) / y),
        ScalePrecision.F32_QUOTIENT: x / y * w,
        ScalePrecision.F32: x * w / y,
    }
    assert len({tuple(reals.tolist()) for reals in precisions.values()}) == 4
    for precision, expected in precisions.items():
        np.testing.assert_array_equal(real_multiplier(x, w, y, precision), expected)


@pytest.mark.parametrize(
    ("operator", "qa", "out", "message"),
    [
        ("Add", QParams(S8, F32(0.1), np.asarray(0)), params(0.1, 0), "unsigned bytes"),
        ("Add", params(9.0, 0), params(0.1, 0), "coarse enough"),
        ("Mul", params(0.1, 0), QParams(S8, F32(0.1), np.asarray(0)), "unsigned bytes"),
        ("Mul", params(0.6, 0), params(0.1, 0), "coarse enough"),
        ("Concat", QParams(S8, F32(0.1), np.asarray(0)), params(0.1, 0), "unsigned bytes"),
        ("Concat", params(1.7, 0), params(0.1, 0), "coarse enough"),
    ],
)
def test_what_does_not_fit_the_lanes_is_refused(
    operator: str, qa: QParams, out: QParams, message: str
) -> None:
    stated, one = form(operator), params(0.1, 0)
    x = np.zeros((1, 2), qa.qtype.dtype)
    for tools, codes in ((elementwise, x), (fast_elementwise, tensor(x))):
        run: Any = {"Add": tools.add, "Mul": tools.mul}.get(operator)
        join: Any = concat if tools is elementwise else fast_concat
        with pytest.raises(DeployqError, match=message):
            if run is None:
                join.concat([(codes, qa)], out, 1, stated)
            else:
                run(codes, qa, codes, one, out, stated)
