from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.geometry import PoolGeometry
from deployq.arithmetic.kernels import pooling as kernels
from deployq.arithmetic.oracle import pooling as oracle
from deployq.errors import QuantizationError, UnsupportedError
from deployq.qparams import QParams
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
    tensor,
    times,
)

ONE = np.asarray(1, np.float32)
GEOMETRIES = [
    PoolGeometry((2, 2), (2, 2)),
    PoolGeometry((3, 3), (2, 2), (1, 1, 1, 1)),
    PoolGeometry((3, 2), (1, 2), (2, 0, 1, 1), count_include_pad=True),
    PoolGeometry((6, 7)),  # the whole map
    PoolGeometry((6, 7), pads=(1, 1, 1, 1)),
]


@settings(max_examples=100, deadline=None)
@given(seeds, qtypes, qtypes, st.sampled_from(FORMS), st.sampled_from(GEOMETRIES), st.booleans())
def test_average_kernel_is_the_oracle(
    seed: int, xt: QType, yt: QType, form: Form, geometry: PoolGeometry, ties: bool
) -> None:
    draw = Draw(seed, ties=ties)
    qx, out, x = draw.params(xt), draw.params(yt), draw.codes(xt, 2, 3, 6, 7)
    expected = oracle.average_pool(x, qx, out, form, geometry)
    assert_codes(kernels.average_pool(tensor(x), qx, out, form, geometry), expected, out)
    everywhere = oracle.global_average_pool(x, qx, out, form)
    assert_codes(kernels.global_average_pool(tensor(x), qx, out, form), everywhere, out)


@settings(max_examples=40, deadline=None)
@given(seeds, qtypes, st.sampled_from(GEOMETRIES))
def test_max_kernel_is_the_oracle(seed: int, xt: QType, geometry: PoolGeometry) -> None:
    x = Draw(seed).codes(xt, 2, 3, 6, 7)
    found = kernels.max_pool(tensor(x), geometry)
    np.testing.assert_array_equal(found.numpy(), oracle.max_pool(x, geometry))
    assert found.dtype == tensor(x).dtype


@given(seeds, st.sampled_from([U8, S8]))
def test_max_pool_is_that_of_torch(seed: int, xt: QType) -> None:
    x = Draw(seed).codes(xt, 1, 2, 7, 6)
    expected = torch.nn.functional.max_pool2d(torch.from_numpy(x).float(), 3, 2, 1)
    found = oracle.max_pool(x, PoolGeometry((3, 3), (2, 2), (1, 1, 1, 1)))
    np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.parametrize("mode", SINGLE)
def test_a_shift_rounds_the_sum_once(mode: Rounding) -> None:
    q, x = QParams(S8, ONE, np.asarray(-5)), Draw(4).codes(S8, 1, 9, 4, 4)
    sums = (x.astype(int) + 5).sum(axis=(2, 3)).ravel().tolist()
    expected = [rounded(Fraction(total, 16), mode) - 5 for total in sums]
    found = oracle.global_average_pool(x, q, q, Form(Kind.SHIFT, mode))
    assert found.ravel().tolist() == expected
    torch_found = kernels.global_average_pool(tensor(x), q, q, Form(Kind.SHIFT, mode))
    assert_codes(torch_found, found, q)


@pytest.mark.parametrize("mode", [Rounding.DOUBLE, Rounding.NATURAL_PLUS_ONE, Rounding.HALF_UP])
def test_fixed_divides_by_the_real_cells(mode: Rounding) -> None:
    draw = Draw(6)
    qx, out, x = draw.params(U8, 0.3), draw.params(U8, 0.2), draw.codes(U8, 1, 1, 5, 5)
    found = oracle.average_pool(x, qx, out, Form(Kind.FIXED, mode), GEOMETRIES[1])
    value = x[0, 0].astype(int) - qx.zero_point
    for row, column in np.ndindex(3, 3):
        cells = value[max(2 * row - 1, 0) : 2 * row + 2, max(2 * column - 1, 0) : 2 * column + 2]
        mantissa, exponent = np.frexp(float(qx.scale) / (cells.size * float(out.scale)))
        q31 = rounded(Fraction(float(mantissa)) * 2**31, Rounding.HALF_AWAY)
        code = times(int(cells.sum()), q31, 31 - int(exponent), mode) + int(out.zero_point)
        assert found[0, 0, row, column] == min(max(code, 0), 255)


def test_exact_and_float32_round_at_different_places() -> None:
    qx, out = QParams(U8, ONE), QParams(U8, ONE, np.asarray(1))
    x = np.array([0, 1, 0, 1], np.uint8).reshape(1, 1, 2, 2)  # mean 1/2
    geometry = PoolGeometry((1, 2))  # not the whole map
    assert oracle.average_pool(x, qx, out, EXACT, geometry).ravel().tolist() == [1, 1]
    assert oracle.average_pool(x, qx, out, FLOAT32, geometry).ravel().tolist() == [2, 2]
    assert oracle.global_average_pool(x, qx, out, FLOAT32).item() == 1


@pytest.mark.parametrize("form", [EXACT, FLOAT32, Form(Kind.FIXED, Rounding.DOUBLE)])
@pytest.mark.parametrize("geometry", [GEOMETRIES[0], GEOMETRIES[3]])
def test_bounds_narrow_the_codes(form: Form, geometry: PoolGeometry) -> None:
    draw = Draw(2)
    qx, out, x = draw.params(U8), draw.params(U8), draw.codes(U8, 2, 3, 6, 7)
    free, found = (
        oracle.average_pool(x, qx, out, form, geometry, bounds=b) for b in (None, (90, 140))
    )
    np.testing.assert_array_equal(found, np.clip(free, 90, 140))
    torch_found = kernels.average_pool(tensor(x), qx, out, form, geometry, bounds=(90, 140))
    assert_codes(torch_found, found, out)


@pytest.mark.parametrize("module", [oracle, kernels])
def test_what_has_no_meaning_is_refused(module: Any) -> None:
    q, vendor = QParams(U8, ONE), Form(Kind.VENDOR)
    x: Any = np.zeros((1, 1, 3, 3), np.uint8) if module is oracle else torch.zeros(1, 1, 3, 3)
    with pytest.raises(UnsupportedError, match=r"GlobalAveragePool.*(?s:.)*vendor"):
        module.global_average_pool(x, q, q, vendor)
    with pytest.raises(UnsupportedError, match=r"^AveragePool"):
        module.average_pool(x, q, q, vendor, PoolGeometry((2, 2)))
    with pytest.raises(QuantizationError, match="power of two"):
        module.global_average_pool(x, q, q, SHIFT)  # nine cells
