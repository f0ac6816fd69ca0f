"""Products beyond 64 bits: 48- and 64-bit sums times mantissas of up to 32 bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deployq.arithmetic.contract import Rounding
from deployq.arithmetic.kernels import multiplier as kernels
from deployq.arithmetic.multiplier import FixedMultiplier, multiply
from deployq.errors import AccumulatorOverflowError
from tests.arithmetic.cases import SINGLE, rounded_shift, times

MODES = [*SINGLE, Rounding.NATURAL_PLUS_ONE]
SATURATED = 1 << 60
"""What is beyond has no exact result: it saturates every code."""

sums = st.integers(-(2**63), 2**63 - 1) | st.integers(-(2**20), 2**20)
mantissas = st.integers(0, 2**31 - 1) | st.sampled_from([1 << 30, 3 << 29, 1 << 14])


def check(acc: list[int], m: FixedMultiplier, mode: Rounding, addend: int | None = None) -> None:
    added = None if addend is None else np.asarray(addend)
    found = multiply(np.asarray(acc), m, mode, added)
    fast = kernels.multiply(torch.tensor(acc), m, mode, added)
    np.testing.assert_array_equal(fast.numpy(), found)
    mantissa, shift = int(m.mantissa), int(m.shift)
    for one, code in zip(acc, found.tolist(), strict=True):
        if addend is None:
            expected = times(one, mantissa, shift, mode)
        else:
            expected = rounded_shift(one * mantissa + addend, shift, mode)
        if abs(expected) < SATURATED:
            assert code == expected
        else:
            assert abs(code) >= SATURATED and (code > 0) == (expected > 0)


@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("mode", MODES)
@given(acc=st.lists(sums, min_size=1, max_size=5), mantissa=mantissas, shift=st.integers(0, 62))
@example(acc=[2**62, -(2**62), 1, -1, 0], mantissa=2**31 - 1, shift=0)
@example(acc=[2**62, 3 << 31, -(3 << 31), 5 << 40], mantissa=1 << 30, shift=62)
@example(acc=[2**63 - 1, -(2**63), -(1 << 32), 3 << 32], mantissa=2**31 - 1, shift=62)
def test_the_product_is_exact(mode: Rounding, acc: list[int], mantissa: int, shift: int) -> None:
    m = FixedMultiplier(np.asarray(mantissa), np.asarray(shift))
    check([*acc, 2**62], m, mode)


@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("mode", SINGLE)
@given(
    acc=st.integers(-(2**62), 2**62),
    mantissa=mantissas,
    shift=st.integers(0, 62),
    addend=st.integers(-(2**61), 2**61),
)
def test_a_late_bias_joins_the_product(
    mode: Rounding, acc: int, mantissa: int, shift: int, addend: int
) -> None:
    m = FixedMultiplier(np.asarray(mantissa), np.asarray(shift))
    check([acc, -acc, 2**62], m, mode, addend)


@pytest.mark.parametrize("mode", MODES)
def test_ties_of_both_signs_and_neighbours(mode: Rounding) -> None:
    half = 1 << 47  # of a 48-bit sum times 2**-48: one half
    acc = [sign * (k * 2 * half + half) + off
           for sign in (1, -1) for k in (0, 1, 2, 9) for off in (-1, 0, 1)]  # fmt: skip
    check(acc, FixedMultiplier(np.asarray(1 << 14), np.asarray(62)), mode)
    check(acc, FixedMultiplier(np.asarray(3 << 12), np.asarray(61)), mode)


def test_channels_have_multipliers_of_their_own() -> None:
    rng = np.random.default_rng(0)
    acc = rng.integers(-(2**47), 2**47, (3, 4))
    m = FixedMultiplier(rng.integers(2**30, 2**31, 4), rng.integers(20, 62, 4))
    found = multiply(acc, m, Rounding.HALF_UP)
    expected = [
        [times(a, int(b), int(s), Rounding.HALF_UP)
         for a, b, s in zip(row, m.mantissa, m.shift, strict=True)] for row in acc.tolist()
    ]  # fmt: skip
    assert found.tolist() == expected
    assert kernels.multiply(torch.from_numpy(acc), m, Rounding.HALF_UP).tolist() == expected


@pytest.mark.parametrize(
    ("acc", "shift", "mode"),
    [
        (1 << 33, 40, Rounding.DOUBLE),
        (1 << 33, 40, Rounding.DOUBLE_HALF_UP),
        (1 << 33, -1, Rounding.HALF_UP),
    ],
)
def test_what_is_not_computed_is_refused(acc: int, shift: int, mode: Rounding) -> None:
    m = FixedMultiplier(np.asarray(2**31 - 1), np.asarray(shift))
    with pytest.raises(AccumulatorOverflowError, match="accumulator times mantissa fits"):
        multiply(np.asarray(acc), m, mode)
    with pytest.raises(AccumulatorOverflowError, match="accumulator times mantissa fits"):
        kernels.multiply(torch.tensor(acc), m, mode)


def test_no_more_than_95_bits() -> None:
    m, acc = FixedMultiplier(np.asarray(2**32 - 1), np.asarray(40)), -(1 << 63)
    with pytest.raises(AccumulatorOverflowError, match="allowed: 95 bits"):
        multiply(np.asarray(acc), m, Rounding.HALF_UP)
    assert int(multiply(np.asarray(acc >> 1), m, Rounding.FLOOR)) == acc // 2 * (2**32 - 1) >> 40
