from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.kernels import concat as kernels
from deployq.arithmetic.oracle import concat as oracle
from deployq.errors import UnsupportedError
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
    qtypes,
    rounded,
    seeds,
    tensor,
)


@settings(max_examples=100, deadline=None)
@given(seeds, st.tuples(qtypes, qtypes, qtypes), st.sampled_from(FORMS), st.booleans())
def test_kernel_is_the_oracle(seed: int, types: tuple[QType, ...], form: Form, ties: bool) -> None:
    draw = Draw(seed, ties=ties)
    qa, qb, out = (draw.params(qtype) for qtype in types)
    a, b = draw.codes(types[0], 2, 3, 4), draw.codes(types[1], 2, 5, 4)
    parts, tensors = [(a, qa), (b, qb)], [(tensor(a), qa), (tensor(b), qb)]
    expected = oracle.concat(parts, out, 1, form)
    assert expected.shape == (2, 8, 4)
    assert_codes(kernels.concat(tensors, out, 1, form), expected, out)
    alone = oracle.rescale(b, qb, out, form)
    np.testing.assert_array_equal(expected[:, 3:], alone)
    assert_codes(kernels.rescale(tensor(b), qb, out, form), alone, out)


@pytest.mark.parametrize("form", [EXACT, SHIFT])
def test_every_code_is_the_rational_value(form: Form) -> None:
    qx = QParams(U8, np.asarray(0.5, np.float32), np.asarray(7))
    out = QParams(S8, np.asarray(2.0, np.float32), np.asarray(-3))
    codes = np.arange(256).astype(np.uint8)
    quarters = [Fraction(code - 7, 4) for code in range(256)]
    expected = [rounded(x, Rounding.HALF_EVEN) - 3 for x in quarters]
    assert oracle.rescale(codes, qx, out, form).tolist() == expected
    assert kernels.rescale(tensor(codes), qx, out, form).tolist() == expected


@pytest.mark.parametrize("form", [*FORMS, Form(Kind.FIXED, Rounding.FLOOR, shift_max=3)])
def test_equal_parameters_leave_codes_alone(form: Form) -> None:
    q = QParams(U8, np.asarray(0.3, np.float32), np.asarray(9))
    codes = np.arange(256).astype(np.uint8)
    assert oracle.rescale(codes, q, q, form).tolist() == list(range(256))
    assert kernels.rescale(tensor(codes), q, q, form).tolist() == list(range(256))


@pytest.mark.parametrize("same", [True, False])
def test_bounds_narrow_the_codes(same: bool) -> None:
    qx = QParams(U8, np.asarray(0.5, np.float32), np.asarray(7))
    out = qx if same else QParams(U8, np.asarray(0.4, np.float32), np.asarray(9))
    codes = np.arange(256).astype(np.uint8)
    free = oracle.rescale(codes, qx, out, EXACT)
    found = oracle.rescale(codes, qx, out, EXACT, bounds=(20, 30))
    np.testing.assert_array_equal(found, np.clip(free, 20, 30))
    assert_codes(kernels.rescale(tensor(codes), qx, out, EXACT, bounds=(20, 30)), found, out)


@pytest.mark.parametrize("module", [oracle, kernels])
def test_what_has_no_meaning_is_refused(module: Any) -> None:
    q, other = (QParams(U8, np.asarray(scale, np.float32)) for scale in (1, 2))
    x: Any = torch.zeros(3) if module is kernels else np.zeros(3)
    with pytest.raises(UnsupportedError, match=r"^Concat"):
        module.concat([(x, q)], other, 0, Form(Kind.VENDOR))
    with pytest.raises(UnsupportedError, match=r"^rescale"):
        module.rescale(x, q, other, Form(Kind.VENDOR))
