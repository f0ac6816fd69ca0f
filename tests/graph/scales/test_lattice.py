"""Lattices of scales: powers of two, and multipliers that a short mantissa holds exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.multiplier import choose_fixed
from deployq.arithmetic.precisions import real_multiplier
from deployq.graph.scales.lattice import (
    ScaleLattice,
    multipliers_around,
    needs_lattice,
    neighbours,
    snap_scale,
    weight_scales,
)

SCALES = st.floats(2.0**-20, 2.0**4, width=32)


def fixed(bits: int, **facts: object) -> Form:
    return Form(Kind.FIXED, Rounding.HALF_UP, multiplier_bits=bits, **facts)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(st.floats(2.0**-120, 2.0**120, width=32))
def test_neighbours_are_the_powers_of_two_around(scale: float) -> None:
    above, below = (float(t) for t in neighbours(torch.tensor(scale), ScaleLattice()))
    assert np.frexp(above)[0] == np.frexp(below)[0] == 0.5
    assert below <= scale <= above and above / below == (1 if scale == above else 2)


@pytest.mark.parametrize(
    ("scale", "lattice", "limit", "found"),
    [
        (0.3, ScaleLattice(-8, 0), None, (0.5, 0.25)),
        (0.001, ScaleLattice(-8, 0), None, (2.0**-8, 2.0**-8)),
        (9.0, ScaleLattice(-8, 0), None, (1.0, 1.0)),
        (0.3, ScaleLattice(-8, 0), 0.4, (0.25, 0.25)),
        (0.5, ScaleLattice(-8, 0), 0.5, (0.5, 0.5)),
        (0.3, ScaleLattice(-2, 0), 0.01, (0.25, 0.25)),  # the lattice has no scale below the limit
    ],
)
def test_exponents_stay_in_range_and_under_a_limit(
    scale: float, lattice: ScaleLattice, limit: float | None, found: tuple[float, float]
) -> None:
    assert tuple(map(float, neighbours(torch.tensor(scale), lattice, limit))) == found


def test_the_neighbour_with_the_lower_error_is_taken() -> None:
    scale, least = torch.full((3,), 0.3), torch.full((3,), 1e-9, dtype=torch.float64)
    errors = torch.tensor([[1.0, 2.0, 1.0], [2.0, 1.0, 1.0]])
    assert snap_scale(scale, ScaleLattice(), least, errors).tolist() == [0.5, 0.25, 0.5]
    least = torch.tensor([1e-9, 0.26, 1.5], dtype=torch.float64)  # what the bias needs
    assert snap_scale(scale, ScaleLattice(), least, errors).tolist() == [0.5, 0.5, 2.0]


@settings(max_examples=200, deadline=None)
@given(st.lists(SCALES, min_size=1, max_size=6), SCALES, SCALES, st.integers(1, 23), st.booleans())
def test_the_contract_gives_the_multiplier_back_exactly(
    weights: list[float], x: float, y: float, bits: int, shared: bool
) -> None:
    form = fixed(bits, shift_min=-40, shift_max=80, shared_shift=shared)
    real = real_multiplier(np.float32(x), np.array(weights, np.float32), np.float32(y))
    found = multipliers_around(real, form)
    for mantissas, wished in zip(found.mantissas, found.real, strict=True):
        scales = weight_scales(wished, np.float32(x), np.float32(y)).numpy()
        derived = choose_fixed(real_multiplier(np.float32(x), scales, np.float32(y)), form)
        assert np.array_equal(derived.real, wished)
        if mantissas.max() >= 1 << (bits - 1):  # else the contract writes it with a smaller shift
            assert np.array_equal(derived.mantissa, mantissas)
    least = 1 if shared else 2 ** (bits - 1)
    held = (found.mantissas[0] > least) & (found.mantissas[1] < (1 << bits) - 1)
    assert (found.real[0] >= real)[held].all() and (found.real[1] <= real)[held].all()


def test_a_shift_beyond_the_hardware_raises_the_multiplier() -> None:
    found = multipliers_around(np.array([2.0**-30, 0.3]), fixed(8, shift_min=0, shift_max=20))
    assert found.mantissas[:, 0].tolist() == [128, 128] and found.shift.tolist() == [20, 9]
    choose_fixed(found.real[0], fixed(8, shift_min=0, shift_max=20))


def test_a_channel_far_below_the_shared_shift_keeps_a_multiplier() -> None:
    found = multipliers_around(np.array([1.0, 2.0**-12]), fixed(8, shared_shift=True))
    assert found.mantissas[:, 1].tolist() == [1, 1] and found.shift.tolist() == [7, 7]


@pytest.mark.parametrize(
    ("form", "needed"),
    [
        (fixed(16), True), (fixed(23), True), (fixed(24), False), (fixed(31), False),
        (fixed(31, shared_shift=True), True), (Form(Kind.EXACT), False),
        (Form(Kind.FLOAT32), False), (Form(Kind.SHIFT), False),
    ],
)  # fmt: skip
def test_short_and_shared_multipliers_need_a_lattice(form: Form, needed: bool) -> None:
    assert needs_lattice(form) is needed
