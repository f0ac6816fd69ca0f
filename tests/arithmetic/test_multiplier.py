from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.kernels import multiplier as kernels
from deployq.arithmetic.multiplier import FixedMultiplier, choose_fixed, multiply
from deployq.arithmetic.requant_words import Mantissa
from deployq.errors import ProfileError, QuantizationError
from tests.arithmetic.cases import EXACT, SHIFT, rounded, times

Q31 = Form(Kind.FIXED, Rounding.HALF_UP)
reals = st.floats(2.0**-30, 2.0**10)


def fixed(mantissa: int, shift: int) -> FixedMultiplier:
    return FixedMultiplier(np.asarray(mantissa), np.asarray(shift))


@given(real=reals, bits=st.integers(2, 32))
@example(real=1.0 - 2.0**-40, bits=8)
def test_the_mantissa_is_full_and_nearest(real: float, bits: int) -> None:
    chosen = choose_fixed(real, replace(Q31, multiplier_bits=bits))
    mantissa, shift = int(chosen.mantissa), int(chosen.shift)
    assert 1 << (bits - 1) <= mantissa < 1 << bits
    exact = Fraction(real) * Fraction(2) ** shift
    carried = mantissa == 1 << (bits - 1) and rounded(2 * exact, Rounding.HALF_AWAY) == 1 << bits
    assert carried or mantissa == rounded(exact, Rounding.HALF_AWAY)


def test_known_multipliers() -> None:
    half, nearly_one = choose_fixed(0.5, Q31), choose_fixed(1 - 1e-12, Q31)
    assert (int(half.mantissa), int(half.shift)) == (1 << 30, 31)
    assert (int(nearly_one.mantissa), int(nearly_one.shift)) == (1 << 30, 30)  # carried over


@given(real=reals)
@example(real=1 - 2.0**-17)
@example(real=1 / 2 - 2.0**-18)
@example(real=5 * 2.0**-31)
def test_a_reduced_mantissa_is_the_upper_part_of_31_bits(real: float) -> None:
    """``reduced = m < 0x7FFF0000 ? (m + (1 << 15)) >> 16 : 0x7FFF``, shifted by ``15 - e``."""
    form = replace(Q31, multiplier_bits=15, mantissa=Mantissa.REDUCED)
    whole, chosen = choose_fixed(real, Q31), choose_fixed(real, form)
    m = int(whole.mantissa)
    assert int(chosen.mantissa) == ((m + (1 << 15)) >> 16 if m < 0x7FFF0000 else 0x7FFF)
    assert int(chosen.shift) == int(whole.shift) - 16


def test_a_reduced_mantissa_does_not_carry_over() -> None:
    nearest = replace(Q31, multiplier_bits=15)
    real = 1 - 2.0**-17
    assert choose_fixed(real, nearest).real == 1.0
    reduced = choose_fixed(real, replace(nearest, mantissa=Mantissa.REDUCED))
    assert reduced.real == 1 - 2.0**-15


@given(real=st.lists(reals, min_size=1, max_size=5), bits=st.sampled_from([8, 15, 16, 31]))
def test_a_shared_shift_is_the_smallest(real: list[float], bits: int) -> None:
    form = replace(Q31, multiplier_bits=bits, shared_shift=True, shift_max=61)
    chosen = choose_fixed(np.array(real), form)
    alone = choose_fixed(np.array(real), replace(form, shared_shift=False))
    assert set(chosen.shift) == {alone.shift.min()} and max(chosen.mantissa) < 1 << bits
    exact = [Fraction(x) * Fraction(2) ** int(chosen.shift[0]) for x in real]
    assert chosen.mantissa.tolist() == [rounded(x, Rounding.HALF_AWAY) for x in exact]


def test_a_shift_out_of_range_names_the_channel() -> None:
    form = replace(Q31, shift_min=16, shift_max=40)
    with pytest.raises(QuantizationError, match="channel 1") as low:
        choose_fixed(np.array([0.5, 2.0**-20]), form)
    assert "raise the weight scale" in low.value.next_step
    with pytest.raises(QuantizationError, match="channel 2") as high:
        choose_fixed(np.array([0.5, 0.25, 2.0**17]), form)
    assert "lower the weight scale" in high.value.next_step


def test_a_shift_form_takes_powers_of_two() -> None:
    chosen = choose_fixed(np.array([0.25, 1.0, 8.0]), SHIFT)
    assert chosen.mantissa.tolist() == [1, 1, 1] and chosen.shift.tolist() == [2, 0, -3]
    with pytest.raises(QuantizationError, match="channel 1"):
        choose_fixed(np.array([0.25, 0.3]), SHIFT)


def test_a_shared_shift_form_takes_one_power() -> None:
    form = replace(SHIFT, shared_shift=True)
    assert choose_fixed(np.array([0.5, 0.5]), form).shift.tolist() == [1, 1]
    with pytest.raises(QuantizationError, match="channel 1"):
        choose_fixed(np.array([0.5, 0.25]), form)


@pytest.mark.parametrize(
    "form",
    [
        EXACT,
        replace(Q31, multiplier_bits=33),
        replace(Q31, mantissa=Mantissa.REDUCED),
        replace(Q31, mantissa=Mantissa.REDUCED, multiplier_bits=15, shared_shift=True),
        replace(SHIFT, mantissa=Mantissa.REDUCED, multiplier_bits=15),
        replace(SHIFT, rounding=Rounding.DOUBLE),
        Form(Kind.FIXED, Rounding.DOUBLE, multiplier_bits=16),
    ],
)
def test_contradictory_forms_are_refused(form: Form) -> None:
    with pytest.raises(ProfileError):
        choose_fixed(np.array([0.5]), form)


@pytest.mark.parametrize("real", [0.0, -1.0, np.inf, np.nan])
def test_a_multiplier_is_positive_and_finite(real: float) -> None:
    with pytest.raises(QuantizationError, match="positive"):
        choose_fixed(np.array([real]), Q31)


@pytest.mark.parametrize("mode", Rounding)
@given(
    acc=st.integers(-(2**31), 2**31 - 1),
    mantissa=st.integers(2**30, 2**31 - 1),
    shift=st.integers(31, 62),
)
@example(acc=-1, mantissa=2**30, shift=32)
@example(acc=3, mantissa=2**30, shift=31)
@example(acc=-(2**31), mantissa=2**31 - 1, shift=31)
def test_multiply_is_the_definition(mode: Rounding, acc: int, mantissa: int, shift: int) -> None:
    expected = times(acc, mantissa, shift, mode)
    assert int(multiply(np.asarray(acc), fixed(mantissa, shift), mode)) == expected
    assert int(kernels.multiply(torch.tensor(acc), fixed(mantissa, shift), mode)) == expected


@pytest.mark.parametrize("mode", Rounding)
def test_small_accumulators_with_many_ties(mode: Rounding) -> None:
    acc = np.arange(-300, 301)
    for m in (fixed(1 << 30, 33), fixed(3 << 29, 35), fixed(1 << 30, 28)):
        expected = [times(a, int(m.mantissa), int(m.shift), mode) for a in acc.tolist()]
        assert multiply(acc, m, mode).tolist() == expected
        assert kernels.multiply(torch.from_numpy(acc), m, mode).tolist() == expected


def test_the_real_value_of_a_multiplier() -> None:
    assert fixed(3, 2).real == 0.75 and fixed(3, -2).real == 12.0
