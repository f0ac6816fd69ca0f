from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.arithmetic.contract import Accumulator, Form, Kind, Overflow, Rounding
from deployq.arithmetic.kernels import requantize as kernels
from deployq.arithmetic.oracle import requantize as oracle
from deployq.errors import (
    AccumulatorOverflowError,
    ProfileError,
    QuantizationError,
    UnsupportedError,
)
from deployq.qparams import PerChannel, QParams
from deployq.qtypes import QType
from tests.arithmetic.cases import (
    EXACT,
    FLOAT32,
    FORMS,
    S8,
    SHIFT,
    SINGLE,
    U8,
    Draw,
    assert_codes,
    qtypes,
    rounded,
    seeds,
    times,
)

ONE = np.asarray(1, np.float32)


@settings(max_examples=150, deadline=None)
@given(seeds, qtypes, st.sampled_from(FORMS), st.booleans(), st.sampled_from([1, -1]))
def test_kernel_is_the_oracle(seed: int, yt: QType, form: Form, ties: bool, axis: int) -> None:
    draw = Draw(seed, ties=ties)
    out, sx, sw = draw.params(yt), draw.scale()[()], draw.scale(6)
    span = int(yt.qmax * draw.rng.choice([0.1, 2, 50])) + 4
    acc = draw.rng.integers(-span, span, (2, 6, 5, 6))
    expected = oracle.requantize(acc, sx, sw, out, form, channel_axis=axis)
    for sums in (torch.from_numpy(acc), torch.from_numpy(acc).float()):  # both hold them
        found = kernels.requantize(sums, sx, sw, out, form, channel_axis=axis)
        assert_codes(found, expected, out)


@settings(max_examples=60, deadline=None)
@given(seeds, qtypes, st.sampled_from(SINGLE))
def test_a_shift_rounds_the_exact_value(seed: int, yt: QType, mode: Rounding) -> None:
    draw = Draw(seed, ties=True)
    out, sx, sw = draw.params(yt), draw.scale()[()], draw.scale()[()]
    acc = draw.rng.integers(-500, 500, (1, 40))
    real = Fraction(float(sx)) * Fraction(float(sw)) / Fraction(float(out.scale))
    exact = [rounded(a * real, mode) + int(out.zero_point) for a in acc[0].tolist()]
    expected = np.clip(exact, yt.qmin, yt.qmax)
    found = oracle.requantize(acc, sx, sw, out, Form(Kind.SHIFT, mode))
    assert found[0].tolist() == expected.tolist()
    torch_found = kernels.requantize(torch.from_numpy(acc), sx, sw, out, Form(Kind.SHIFT, mode))
    assert_codes(torch_found, found, out)


@pytest.mark.parametrize("form", [EXACT, FLOAT32])
def test_ties_go_to_the_even_offset(form: Form) -> None:
    out = QParams(S8, ONE, np.asarray(1))  # the zero point is added after the rounding
    found = oracle.requantize(np.array([[1, 3, 5, -1]]), np.float32(0.5), ONE, out, form)
    assert found.tolist() == [[1, 3, 3, 1]]


@pytest.mark.parametrize("mode", Rounding)
def test_fixed_is_the_multiplier_of_each_channel(mode: Rounding) -> None:
    out = QParams(S8, np.asarray(0.1, np.float32), np.asarray(-3))
    sw, acc = np.array([0.5, 0.25, 0.3], np.float32), np.arange(-30, 30).reshape(-1, 1, 1) * 7
    sums = np.broadcast_to(acc, (60, 3, 1))
    found = oracle.requantize(sums, ONE, sw, out, Form(Kind.FIXED, mode))
    for channel, scale in enumerate(sw.tolist()):
        mantissa, exponent = np.frexp(scale / float(out.scale))
        q31 = rounded(Fraction(float(mantissa)) * 2**31, Rounding.HALF_AWAY)
        expected = [times(a, q31, 31 - int(exponent), mode) - 3 for a in acc.ravel().tolist()]
        assert found[:, channel, 0].tolist() == np.clip(expected, -128, 127).tolist()


def test_float32_is_not_exact_where_the_sum_is_long() -> None:
    acc, out = np.array([[2**24 + 1]]), QParams(QType(32, True), ONE)
    assert oracle.requantize(acc, ONE, ONE, out, FLOAT32).item() == 2**24
    assert oracle.requantize(acc, ONE, ONE, out, EXACT).item() == 2**24 + 1


@pytest.mark.parametrize("form", [EXACT, FLOAT32, SHIFT, Form(Kind.FIXED, Rounding.DOUBLE)])
def test_bounds_narrow_the_codes(form: Form) -> None:
    out, acc = QParams(U8, ONE, np.asarray(3)), np.array([[-9, 0, 4, 900]])
    found = oracle.requantize(acc, ONE, ONE, out, form, bounds=(3, 6))
    assert found.tolist() == [[3, 3, 6, 6]]
    torch_found = kernels.requantize(torch.from_numpy(acc), ONE, ONE, out, form, bounds=(3, 6))
    assert_codes(torch_found, found, out)
    with pytest.raises(QuantizationError, match="fused clip"):
        oracle.requantize(acc, ONE, ONE, out, form, bounds=(300, 400))


@pytest.mark.parametrize("requantize", [oracle.requantize, kernels.requantize])
def test_what_has_no_meaning_is_refused(requantize: Any) -> None:
    acc: Any = np.ones((1, 2), np.int64)
    acc = torch.from_numpy(acc) if requantize is kernels.requantize else acc
    out = QParams(U8, ONE)
    with pytest.raises(UnsupportedError, match=r"requantize.*(?s:.)*vendor(?s:.)*exact, float32"):
        requantize(acc, ONE, ONE, out, Form(Kind.VENDOR))
    with pytest.raises(ProfileError, match="half to even"):
        requantize(acc, ONE, ONE, out, Form(Kind.FLOAT32, Rounding.HALF_UP))
    channels = QParams(U8, np.ones(2, np.float32), granularity=PerChannel(1))
    with pytest.raises(QuantizationError, match="one scale"):
        requantize(acc, ONE, ONE, channels, EXACT)


@given(seed=st.integers(0, 2**32 - 1), axis=st.sampled_from([-1, 1]), late=st.booleans())
def test_reals_of_sums_are_the_oracle_and_rounded_once(seed: int, axis: int, late: bool) -> None:
    draw = np.random.default_rng(seed)
    acc = draw.integers(-(2**31), 2**31, (3, 4, 4))
    x, w = np.float32(draw.random() + 1e-3), (draw.random(4) + 1e-3).astype(np.float32)
    biases = draw.normal(size=4) if late else None
    wanted = oracle.real_sums(acc, x, w, channel_axis=axis, late=biases)
    found = kernels.real_sums(torch.from_numpy(acc), x, w, channel_axis=axis, late=biases)
    assert np.array_equal(found.numpy(), wanted)
    index = (2, 3, 3) if axis == -1 else (2, 3, 0)
    if not late:  # a product of float32 numbers is exact in float64, times an int32 not quite
        scale = Fraction(float(x)) * Fraction(float(w[3]))
        exact = float(int(acc[index]) * scale)
        assert wanted[index] == pytest.approx(exact, rel=2.0**-23)


def fit_both(acc: list[int], accumulator: Accumulator) -> list[int]:
    sums = np.array([acc])
    found: list[int] = oracle.fit_accumulator(sums, accumulator, "conv1")[0].tolist()
    short = [sums] if np.abs(sums).max() >= 1 << 24 else [sums, np.float32(sums)]
    for operand in short:
        torch_found = kernels.fit_accumulator(torch.from_numpy(operand), accumulator, "conv1")
        assert torch_found[0].tolist() == found
    return found


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1), st.integers(2, 64))
def test_wrapping_is_arithmetic_modulo_the_width(acc: list[int], bits: int) -> None:
    half = 1 << (bits - 1)
    expected = [(a + half) % (2 * half) - half for a in acc]
    assert fit_both(acc, Accumulator(bits, Overflow.WRAP)) == expected


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1), st.integers(2, 64))
def test_saturating_stops_at_the_ends(acc: list[int], bits: int) -> None:
    half = 1 << (bits - 1)
    expected = [min(max(a, -half), half - 1) for a in acc]
    assert fit_both(acc, Accumulator(bits, Overflow.SATURATE)) == expected


@pytest.mark.parametrize("fit", [oracle.fit_accumulator, kernels.fit_accumulator])
@pytest.mark.parametrize(("axis", "channel"), [(1, 2), (-1, 3)])
def test_rejecting_names_layer_channel_and_bound(fit: Any, axis: int, channel: int) -> None:
    acc = np.zeros((2, 4, 5), np.int64)
    acc[1, 2, 3], sums = 1 << 15, acc if fit is oracle.fit_accumulator else torch.from_numpy(acc)
    with pytest.raises(AccumulatorOverflowError, match=f"conv1, output channel {channel}") as error:
        fit(sums, Accumulator(16), "conv1", channel_axis=axis)
    assert (error.value.found, error.value.allowed) == ("32768", "-32768..32767")
    assert (fit(sums, Accumulator(17), "conv1") == sums).all()
