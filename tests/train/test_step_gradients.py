"""Gradients of the quantizer against published formulas and finite differences, in float64.

What LSQ differentiates is the grid with its rounding taken as a constant: at ``s0``,
``f(s) = s clamp(x / s + r, low, high)`` with ``r = round(x / s0) - x / s0``. That is smooth, so
differences of it are a reference of their own.
"""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.power_of_two import power_of_two
from deployq.graph.scales.lattice import ScaleLattice
from deployq.qparams import PerChannel, PerTensor
from deployq.qtypes import QType

QTYPES = [
    QType(2, True, True), QType(2, True), QType(3, True, True), QType(4, True), QType(4, False),
    QType(8, True, True), QType(8, False), QType(1, True),
]  # fmt: skip
DIFFERENCE = 2.0**-20
"""Step of the differences: powers of two, so that sums with it are exact."""

values = st.lists(st.integers(-4000, 4000).map(lambda k: k / 16), min_size=1, max_size=8)


def smooth(x: Tensor, scale: Tensor, at: Tensor, quantizer: FakeQuantize) -> Tensor:
    """The grid around the scale ``at``, its rounding a constant."""
    rest = torch.round(x / at) - x / at
    zero = quantizer.zero_point.double()
    low, high = quantizer.qtype.qmin - zero, quantizer.qtype.qmax - zero
    clipped = torch.round(x / at).clamp(low, high)
    inside = clipped == torch.round(x / at)
    return torch.where(inside, x + scale * rest, scale * clipped)


def slope(x: Tensor, weight: Tensor, scale: float, quantizer: FakeQuantize) -> float:
    """Central difference of the weighted sum by the scale; linear in it, so exact but for ulps."""
    at = torch.tensor(scale, dtype=torch.float64)
    ends = [
        (smooth(x, at * (1 + step), at, quantizer) * weight).sum()
        for step in (DIFFERENCE, -DIFFERENCE)
    ]
    return float((ends[0] - ends[1]) / (2 * DIFFERENCE * at))


@settings(max_examples=100, deadline=None)
@given(values, st.sampled_from(QTYPES), st.integers(0, 255), st.integers(-6, 3), st.booleans())
def test_gradients_equal_differences_of_the_smooth_grid(
    drawn: list[float], qtype: QType, zero: int, power: int, pinned: bool
) -> None:
    zero = qtype.qmin + zero % (qtype.qmax - qtype.qmin + 1)
    scale = 0.75 * 2.0**power
    quantizer = FakeQuantize(qtype, PerTensor(), fixed_zero_point=zero if pinned else None)
    quantizer.set_qparams(torch.tensor(scale), torch.tensor(zero))
    quantizer.learn_scale()
    x, weight = torch.tensor(drawn, requires_grad=True), torch.arange(1.0, len(drawn) + 1)
    # float32 division must round as float64 does
    assume(bool((torch.round(x / scale).double() == torch.round(x.double() / scale)).all()))
    (quantizer(x) * weight).sum().backward()
    above_zero = max(qtype.qmax - (zero if pinned else 0), 1)
    assert quantizer.codes_above_zero == above_zero
    expected = slope(x.detach().double(), weight.double(), scale, quantizer)
    expected *= (len(drawn) * above_zero) ** -0.5
    # terms up to 36 * 255 in float32
    assert float(quantizer.scale.grad) == pytest.approx(expected, rel=1e-4, abs=2e-2)
    code = torch.round(x.detach() / scale) + zero
    inside = (code >= qtype.qmin) & (code <= qtype.qmax)
    assert x.grad is not None and torch.equal(x.grad, torch.where(inside, weight, 0.0))


@settings(max_examples=100, deadline=None)
@given(values, st.integers(-6, 3), st.floats(-0.49, 0.49))
def test_exponents_learn_in_the_log_domain(drawn: list[float], power: int, within: float) -> None:
    """dL/d exponent = dL/ds s ln 2, with no factor, wherever between two powers it lies."""
    quantizer = FakeQuantize(QType(4, True), PerTensor(), lattice=ScaleLattice(-8, 8))
    quantizer.set_qparams(torch.tensor(2.0 ** (power + within)), torch.tensor(0))
    quantizer.learn_scale()
    assert quantizer.step is quantizer.exponent
    x, weight = torch.tensor(drawn), torch.arange(1.0, len(drawn) + 1)
    (quantizer(x) * weight).sum().backward()
    scale = 2.0**power
    assert float(quantizer.qparams().scale) == scale
    expected = slope(x.double(), weight.double(), scale, quantizer) * scale * log(2)
    assert quantizer.step.grad is not None
    assert float(quantizer.step.grad) == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_powers_are_exact() -> None:
    exponents = np.arange(-126, 128)
    found = power_of_two(torch.from_numpy(exponents).float(), -126, 127)
    np.testing.assert_array_equal(found.numpy(), np.ldexp(np.float32(1), exponents))


def test_exponents_beyond_their_range_lead_back_only() -> None:
    exponent = torch.tensor([-9.0, 9.0, 1.4], requires_grad=True)
    found = power_of_two(exponent, -3, 2)
    assert found.tolist() == [0.125, 4.0, 2.0]
    found.sum().backward()  # descent lowers all: the first would go further out
    assert exponent.grad is not None
    assert exponent.grad.tolist() == pytest.approx([0.0, 4 * log(2), 2 * log(2)])


def test_a_lattice_ends_under_the_limit_of_a_removed_clamp() -> None:
    quantizer = FakeQuantize(
        QType(4, False), PerTensor(), fixed_zero_point=0, scale_limit=0.4, lattice=ScaleLattice()
    )
    quantizer.set_qparams(torch.tensor(0.25), torch.tensor(0))
    quantizer.learn_scale()
    with torch.no_grad():
        quantizer.step.add_(5.0)
    assert quantizer.effective_scale().item() == 0.25


def test_the_factor_is_of_one_sample_whatever_the_batch() -> None:
    """A mean loss over a batch has the gradient that the mean over its halves has."""
    quantizer = FakeQuantize(QType(4, False), PerTensor(), fixed_zero_point=0, batched=True)
    quantizer.set_qparams(torch.tensor(0.1), torch.tensor(0))
    quantizer.learn_scale()
    x = torch.rand(8, 3, 5)
    found = []
    for parts in (1, 2, 8):
        quantizer.scale.grad = None
        for part in x.chunk(parts):
            (quantizer(part).square().flatten(1).sum(1).mean() / parts).backward()
        found.append(float(quantizer.scale.grad))
    assert found[1:] == pytest.approx([found[0]] * 2, rel=1e-5)
    assert quantizer.gradient_factor(x) == pytest.approx((15 * 15) ** -0.5)


def test_one_grid_has_one_gradient_in_any_codes() -> None:
    """u4 from 0 and s4 from -8 are the same reals."""
    x, found = torch.linspace(-1.0, 4.0, 64), []
    for signed, zero in ((False, 0), (True, -8)):
        quantizer = FakeQuantize(QType(4, signed), PerTensor(), fixed_zero_point=zero)
        quantizer.set_qparams(torch.tensor(0.2), torch.tensor(zero))
        quantizer.learn_scale()
        quantizer(x).square().sum().backward()
        found.append(float(quantizer.scale.grad))
    assert found[0] == found[1]


def test_channels_share_the_factor_of_their_own_values() -> None:
    quantizer = FakeQuantize(QType(3, True, True), PerChannel(1), (4,))
    assert quantizer.gradient_factor(torch.zeros(5, 4, 3)) == pytest.approx((15 * 3) ** -0.5)
