from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from deployq.arithmetic.contract import Rounding
from deployq.arithmetic.kernels import rounding as kernels
from deployq.arithmetic.rounding import round_real, shift_right
from deployq.errors import ProfileError, QuantizationError
from tests.arithmetic.cases import SINGLE, rounded

TIES = np.arange(-9, 10) / 2
EXPECTED = {  # of 2.5 and -2.5, as contract.Rounding says
    "half_even": (2, -2),
    "half_up": (3, -2),
    "half_away": (3, -3),
    "half_down": (2, -3),
    "half_zero": (2, -2),
    "floor": (2, -3),
    "trunc": (2, -2),
}


@pytest.mark.parametrize("mode", SINGLE)
def test_the_examples_of_the_contract(mode: Rounding) -> None:
    assert tuple(round_real(np.array([2.5, -2.5]), mode)) == EXPECTED[mode.value]
    assert tuple(shift_right(np.array([5, -5]), 1, mode)) == EXPECTED[mode.value]


@pytest.mark.parametrize("mode", SINGLE)
def test_ties_and_their_neighbours(mode: Rounding) -> None:
    points = np.concatenate([TIES, np.nextafter(TIES, np.inf), np.nextafter(TIES, -np.inf)])
    expected = [rounded(Fraction(x), mode) for x in points.tolist()]
    assert round_real(points, mode).tolist() == expected


@pytest.mark.parametrize("mode", SINGLE)
@given(x=st.floats(-(2.0**60), 2.0**60))
@example(x=0.49999999999999994)
@example(x=-5e-324)
def test_round_real_is_the_definition(mode: Rounding, x: float) -> None:
    assert int(round_real(x, mode)) == rounded(Fraction(x), mode)


def test_round_real_saturates_far_values() -> None:
    huge = round_real(np.array([1e300, -1e300, np.inf]), Rounding.HALF_EVEN)
    assert huge.tolist() == [2**62, -(2**62), 2**62]


@pytest.mark.parametrize("mode", SINGLE)
@given(value=st.integers(-(2**62), 2**62), shift=st.integers(0, 62))
def test_shift_right_is_the_definition(mode: Rounding, value: int, shift: int) -> None:
    expected = rounded(Fraction(value, 2**shift), mode)
    assert int(shift_right(value, shift, mode)) == expected
    found = kernels.shift_right(torch.tensor(value), torch.tensor(shift), mode)
    assert int(found) == expected


@pytest.mark.parametrize("mode", SINGLE)
def test_each_element_has_its_own_shift(mode: Rounding) -> None:
    values, shifts = np.arange(-40, 41)[:, None], np.array([-3, 0, 1, 4])
    found = shift_right(values, shifts, mode)
    fractions = [[Fraction(int(v)) / Fraction(2) ** int(s) for s in shifts] for v in values[:, 0]]
    assert found.tolist() == [[rounded(x, mode) for x in row] for row in fractions]
    torch_found = kernels.shift_right(torch.from_numpy(values), torch.from_numpy(shifts), mode)
    assert torch_found.tolist() == found.tolist()


@pytest.mark.parametrize("mode", [m for m in Rounding if m not in SINGLE])
def test_modes_of_two_steps_are_refused(mode: Rounding) -> None:
    with pytest.raises(ProfileError, match=mode.value):
        round_real(0.5, mode)
    with pytest.raises(ProfileError, match=mode.value):
        shift_right(5, 1, mode)


def test_a_shift_beyond_62_bits_is_refused() -> None:
    with pytest.raises(QuantizationError, match="63"):
        shift_right(1, 63, Rounding.FLOOR)
