"""A shortcut that joins its layer: oracle and kernel agree, and round once."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.arithmetic.addends import JOINING_KINDS
from deployq.arithmetic.contract import Form, Rounding
from deployq.arithmetic.kernels import requantize as kernels
from deployq.arithmetic.oracle import requantize as oracle
from deployq.errors import QuantizationError, UnsupportedError
from deployq.qparams import PerChannel, QParams
from deployq.qtypes import QType
from tests.arithmetic.cases import (
    EXACT,
    FLOAT32,
    FORMS,
    S8,
    U8,
    Draw,
    assert_codes,
    qtypes,
    rounded,
    seeds,
)


@settings(max_examples=100, deadline=None)
@given(seeds, qtypes, qtypes, st.sampled_from([EXACT, FLOAT32]), st.booleans())
def test_kernel_is_the_oracle(seed: int, yt: QType, at: QType, form: Form, late: bool) -> None:
    draw = Draw(seed, ties=True)
    out, own = draw.params(yt), draw.params(at)
    sx, sw = draw.scale()[()], draw.scale(6)
    acc = draw.rng.integers(-200, 200, (2, 6, 3, 4))
    addend = draw.rng.integers(at.qmin, at.qmax + 1, acc.shape)
    added = draw.rng.normal(size=6) if late and form is EXACT else None
    expected = oracle.requantize(acc, sx, sw, out, form, addend=(addend, own), late=added)
    for sums in (torch.from_numpy(acc), torch.from_numpy(acc).float()):  # both hold them
        operand = torch.from_numpy(addend), own
        found = kernels.requantize(sums, sx, sw, out, form, addend=operand, late=added)
        assert_codes(found, expected, out)


@settings(max_examples=100, deadline=None)
@given(st.integers(-4000, 4000), st.integers(-128, 127), st.integers(-6, 2), st.integers(-9, 3))
def test_exact_sums_are_rounded_once(acc: int, code: int, of_layer: int, of_addend: int) -> None:
    out, own = QParams(S8, np.float32(0.25), -3), QParams(S8, np.float32(2.0**of_addend), 5)
    step, one = np.float32(2.0**of_layer), np.float32(1)
    value = Fraction(acc) * Fraction(float(step)) + (code - 5) * Fraction(2) ** of_addend
    wanted = min(max(rounded(value * 4, Rounding.HALF_EVEN) - 3, -128), 127)
    codes = np.array([acc]), np.array([code])
    found = oracle.requantize(
        codes[0], step, one, out, EXACT, channel_axis=0, addend=(codes[1], own)
    )
    assert found.tolist() == [wanted]


@pytest.mark.parametrize("form", [form for form in FORMS if form.kind not in JOINING_KINDS])
def test_a_form_without_a_place_for_it_refuses(form: Form) -> None:
    out, own = QParams(U8, np.float32(0.25)), QParams(U8, np.float32(0.5))
    codes, one = torch.zeros(1, 2, 1, 1, dtype=torch.int64), np.float32(1)
    with pytest.raises(UnsupportedError, match=r"(?s)joins its layer.*allowed: exact or float32"):
        kernels.requantize(codes, one, one, out, form, addend=(codes, own))


def test_an_addend_has_one_scale() -> None:
    out, each = QParams(U8, np.float32(0.25)), np.float32([0.5, 0.25])
    own = QParams(U8, each, granularity=PerChannel(1))
    codes, one = np.zeros((1, 2, 1, 1), np.int64), np.float32(1)
    with pytest.raises(QuantizationError, match="one scale"):
        oracle.requantize(codes, one, one, out, EXACT, addend=(codes, own))
