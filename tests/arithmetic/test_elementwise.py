from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.float32 import fma
from deployq.arithmetic.kernels import elementwise as kernels
from deployq.arithmetic.kernels.float32 import fma as torch_fma
from deployq.arithmetic.oracle import elementwise as oracle
from deployq.errors import QuantizationError, UnsupportedError
from deployq.qparams import QParams
from deployq.qtypes import QType
from tests.arithmetic.cases import (
    EXACT,
    FORMS,
    S8,
    SHIFT,
    U8,
    Draw,
    assert_codes,
    narrow_qtypes,
    qtypes,
    rounded,
    seeds,
    tensor,
    times,
)

PAIRS = [(oracle.add, kernels.add), (oracle.mul, kernels.mul)]
TINY = 2.0**-80
singles = st.floats(-(2.0**40), 2.0**40, width=32)


def nearest_float32(exact: Fraction) -> float:
    """The float32 closest to a fraction, ties to the even mantissa."""
    near = np.float32(float(exact))
    around = [near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))]
    return float(min(around, key=lambda f: (abs(Fraction(float(f)) - exact), f.view(np.int32) & 1)))


@settings(max_examples=400)
@given(singles, singles, singles)
@example(1 + 2.0**-12, 1 + 2.0**-12, TINY)  # 1 + 2**-11 + 2**-24: a tie of float32, moved up
@example(1 + 2.0**-12, 1 + 2.0**-12, -TINY)
@example(1 + 2.0**-12, 1 + 2.0**-12, 0.0)
@example(-1 - 2.0**-12, 1 + 2.0**-12, -TINY)
@example(1.0, 1.0, -1.0)
@example(1 + 2.0**-23, 1 - 2.0**-23, -1.0)
def test_fma_rounds_once(a: float, b: float, c: float) -> None:
    operands = [np.array([v], np.float32) for v in (a, b, c)]
    expected = nearest_float32(Fraction(a) * Fraction(b) + Fraction(c))
    assert fma(*operands)[0] == expected
    assert torch_fma(*(torch.from_numpy(v) for v in operands))[0] == expected


def test_fma_differs_from_two_roundings_in_float64() -> None:
    x, tiny = np.array([1 + 2.0**-12], np.float32), np.array([TINY], np.float32)
    naive = (x.astype(np.float64) * x + tiny).astype(np.float32)
    assert fma(x, x, tiny)[0] == np.nextafter(naive[0], np.float32(2))


@pytest.mark.parametrize(("slow", "fast"), PAIRS)
@settings(max_examples=120, deadline=None)
@given(
    seeds,
    st.tuples(qtypes, narrow_qtypes, qtypes),
    st.sampled_from(FORMS),
    st.booleans(),
    st.sampled_from([(3, 4, 5), (4, 1), ()]),
)
def test_kernel_is_the_oracle(
    slow: Any,
    fast: Any,
    seed: int,
    types: tuple[QType, ...],
    form: Form,
    ties: bool,
    shape: tuple[int, ...],
) -> None:
    draw = Draw(seed, ties=ties)
    qa, qb, out = (draw.params(qtype) for qtype in types)
    form = replace(form, left_shift=12)  # room for 16 bits
    a, b = draw.codes(types[0], 3, 4, 5), draw.codes(types[1], *shape)
    for left, ql, right, qr in ((a, qa, b, qb), (b, qb, a, qa)):
        expected = slow(left, ql, right, qr, out, form)
        assert_codes(fast(tensor(left), ql, tensor(right), qr, out, form), expected, out)


@pytest.mark.parametrize(("slow", "fast"), PAIRS)
@settings(max_examples=40, deadline=None)
@given(seeds, qtypes)
def test_a_shift_is_exact_on_powers_of_two(slow: Any, fast: Any, seed: int, qtype: QType) -> None:
    draw = Draw(seed, ties=True)
    qa, qb, out = (draw.params(qtype) for _ in range(3))
    a, b = draw.codes(qtype, 50), draw.codes(qtype, 50)
    found = slow(a, qa, b, qb, out, SHIFT)
    np.testing.assert_array_equal(found, slow(a, qa, b, qb, out, EXACT))
    assert_codes(fast(tensor(a), qa, tensor(b), qb, out, SHIFT), found, out)


def every_pair() -> tuple[Any, Any]:
    codes = np.arange(-128, 128).astype(np.int8)
    return codes[:, None], codes[None, :]


def test_exact_add_is_the_rational_sum() -> None:
    (a, b), draw = every_pair(), Draw(5)
    qa, qb, out = (draw.params(S8, scale) for scale in (0.75, 0.5, 2.0))
    total = 3 * (a.astype(int) - qa.zero_point) + 2 * (b.astype(int) - qb.zero_point)
    exact = [rounded(Fraction(int(t), 8), Rounding.HALF_EVEN) for t in total.ravel()]
    expected = np.clip(np.array(exact) + out.zero_point, -128, 127).reshape(256, 256)
    np.testing.assert_array_equal(oracle.add(a, qa, b, qb, out, EXACT), expected)


def tflite_rescale(value: int, real: float, mode: Rounding) -> int:
    mantissa, exponent = np.frexp(real)
    return times(value, round(float(mantissa) * 2**31), 31 - int(exponent), mode)


@pytest.mark.parametrize("mode", [Rounding.DOUBLE, Rounding.HALF_UP])
def test_fixed_add_is_tflites(mode: Rounding) -> None:
    draw = Draw(8)
    qa, qb, out = (draw.params(S8) for _ in range(3))
    a, b = draw.codes(S8, 300), draw.codes(S8, 300)
    s1, s2, s3 = (float(q.scale) for q in (qa, qb, out))
    twice = 2 * max(s1, s2)
    expected = []
    for left, right in zip((a - qa.zero_point).tolist(), (b - qb.zero_point).tolist(), strict=True):
        total = tflite_rescale(left << 20, s1 / twice, mode)
        total += tflite_rescale(right << 20, s2 / twice, mode)
        expected.append(tflite_rescale(total, twice / (2**20 * s3), mode) + int(out.zero_point))
    found = oracle.add(a, qa, b, qb, out, Form(Kind.FIXED, mode))
    assert found.tolist() == np.clip(expected, -128, 127).tolist()


def test_fixed_mul_is_tflites() -> None:
    (a, b), draw = every_pair(), Draw(9)
    qa, qb, out = draw.params(S8, 0.05), draw.params(S8, 0.03), draw.params(S8, 0.4)
    real = float(qa.scale) * float(qb.scale) / float(out.scale)
    products = (a.astype(int) - qa.zero_point) * (b.astype(int) - qb.zero_point)
    table = {p: tflite_rescale(p, real, Rounding.DOUBLE) for p in set(products.ravel().tolist())}
    expected = np.vectorize(table.get)(products) + out.zero_point
    found = oracle.mul(a, qa, b, qb, out, Form(Kind.FIXED, Rounding.DOUBLE))
    np.testing.assert_array_equal(found, np.clip(expected, -128, 127))


@pytest.mark.parametrize("form", [*FORMS, SHIFT])
@pytest.mark.parametrize(("slow", "fast"), PAIRS)
def test_bounds_narrow_the_codes(slow: Any, fast: Any, form: Form) -> None:
    draw = Draw(1, ties=True)
    qa, qb, out = (draw.params(U8) for _ in range(3))
    a, b = draw.codes(U8, 99), draw.codes(U8, 99)
    free, found = (slow(a, qa, b, qb, out, form, bounds=bounds) for bounds in (None, (90, 99)))
    np.testing.assert_array_equal(found, np.clip(free, 90, 99))
    assert_codes(fast(tensor(a), qa, tensor(b), qb, out, form, bounds=(90, 99)), found, out)


@pytest.mark.parametrize("function", [f for pair in PAIRS for f in pair])
def test_what_has_no_meaning_is_refused(function: Any) -> None:
    q, third = (QParams(U8, np.asarray(s, np.float32)) for s in (1.0, 1 / 3))
    make: Any = torch.zeros if function in (kernels.add, kernels.mul) else np.zeros
    with pytest.raises(UnsupportedError, match=r"vendor(?s:.)*exact, float32, fixed, shift"):
        function(make(1), q, make(1), q, q, Form(Kind.VENDOR))
    with pytest.raises(QuantizationError, match="power of two"):
        function(make(1), q, make(1), third, q, SHIFT)
