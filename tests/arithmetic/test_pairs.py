"""Softmax over rows of two, as a target has it: exact shares of 255; longer rows; refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.kernels import softmax as kernels
from deployq.arithmetic.oracle.softmax import softmax
from deployq.arithmetic.requant_words import Softmax
from deployq.errors import UnsupportedError
from deployq.qparams import QParams
from deployq.qtypes import QType
from tests.arithmetic.cases import S8, U8, assert_codes, tensor

PAIRS, REAL = (Form(Kind.EXACT, softmax=word) for word in (Softmax.PAIRS, Softmax.REAL))
U16 = QType(16, signed=False)
EVERY = np.stack(np.meshgrid(np.arange(256), np.arange(256)), -1).astype(np.uint8)


def params(scale: float, zero_point: int = 0, qtype: QType = U8) -> QParams:
    return QParams(qtype, np.asarray(scale, np.float32), np.asarray(zero_point))


OUT = params(1 / 256)


@given(st.floats(1e-4, 20), st.integers(0, 255))
def test_shares_are_those_of_255_and_sum_to_it(scale: float, zero_point: int) -> None:
    qx = params(scale, zero_point)
    found = softmax(EVERY, qx, OUT, PAIRS)
    reals = EVERY.astype(np.float64) * np.float64(qx.scale)
    wanted = 255 / (1 + np.exp(np.minimum(reals[..., :1] - reals[..., 1:], 700)))
    assert (found.astype(np.int64).sum(-1) == 255).all()
    assert np.abs(found[..., 1:] - wanted).max() <= 0.5 + 1e-9  # float64, in another order
    assert_codes(kernels.softmax(tensor(EVERY), qx, OUT, PAIRS), found, OUT)


def test_a_tie_goes_to_the_second() -> None:
    same = np.full((3, 2), 7, np.uint8)
    assert softmax(same, params(0.1), OUT, PAIRS).tolist() == [[127, 128]] * 3


@pytest.mark.parametrize(("qx", "out", "rule", "found"), [
    (params(0.1, 0, S8), OUT, "unsigned bytes", "s8"),
    (params(0.1), params(1 / 256, 0, U16), "unsigned bytes", "u16"),
    (params(0.1), params(1 / 255), "steps of 1/256", "scale 0.00392157, zero point 0"),
    (params(0.1), params(1 / 256, 3), "steps of 1/256", "scale 0.00390625, zero point 3"),
])  # fmt: skip
def test_other_grids_are_refused(qx: QParams, out: QParams, rule: str, found: str) -> None:
    codes = np.zeros((4, 2), qx.qtype.dtype)
    for refused in (
        lambda: softmax(codes, qx, out, PAIRS),
        lambda: kernels.softmax(tensor(codes), qx, out, PAIRS),
    ):
        with pytest.raises(UnsupportedError, match=rule) as caught:
            refused()
        assert str(caught.value.found).startswith(found)


@pytest.mark.parametrize("length", [1, 3, 17])
def test_longer_rows_are_real(length: int) -> None:
    codes, qx = EVERY.reshape(-1)[: 60 * length].reshape(-1, length), params(0.05, 3)
    wanted = softmax(codes, qx, OUT, REAL)
    np.testing.assert_array_equal(softmax(codes, qx, OUT, PAIRS), wanted)
    assert_codes(kernels.softmax(tensor(codes), qx, OUT, PAIRS), wanted, OUT)
