"""Random codes and parameters; forms; exact references in Python numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch
from hypothesis import strategies as st

from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.kernels.codes import torch_dtype
from deployq.qparams import FloatArray, IntArray, QParams
from deployq.qtypes import QType

U8, S8, S32 = QType(8, False), QType(8, True), QType(32, True)
EXACT, FLOAT32, SHIFT = (Form(kind) for kind in (Kind.EXACT, Kind.FLOAT32, Kind.SHIFT))
SINGLE = [r for r in Rounding if r.value not in ("double", "double_half_up", "natural_plus_one")]
FORMS = [
    EXACT,
    FLOAT32,
    *(Form(Kind.FIXED, rounding) for rounding in Rounding),
    Form(Kind.FIXED, Rounding.HALF_UP, multiplier_bits=8, shared_shift=True),
    Form(Kind.FIXED, Rounding.HALF_AWAY, multiplier_bits=15),
    Form(Kind.FLOAT32, s8_as_u8=True),
]
"""Every arithmetic that takes any scales (a SHIFT takes powers of two only)."""

seeds = st.integers(0, 2**32 - 1)
qtypes = st.builds(QType, st.sampled_from([2, 3, 4, 5, 6, 7, 8, 16]), st.booleans())
narrow_qtypes = st.builds(QType, st.integers(2, 8), st.booleans())


class Draw:
    """Codes and parameters from one seed; ``ties`` puts every scale on a power of two."""

    def __init__(self, seed: int, *, ties: bool = False) -> None:
        self.rng = np.random.default_rng(seed)
        self.ties = ties

    def scale(self, size: int | None = None) -> FloatArray:
        """Positive float32, within 1/64..1."""
        if self.ties:
            return np.exp2(np.asarray(-self.rng.integers(0, 7, size), np.float32))
        return np.asarray(np.exp2(-self.rng.uniform(0, 6, size)), np.float32)

    def params(self, qtype: QType, scale: float | None = None) -> QParams:
        zero_point = self.rng.integers(qtype.qmin, qtype.qmax + 1)
        value = self.scale() if scale is None else np.asarray(scale, np.float32)
        return QParams(qtype, value, np.asarray(zero_point))

    def codes(self, qtype: QType, *shape: int) -> IntArray:
        return self.rng.integers(qtype.qmin, qtype.qmax + 1, shape).astype(qtype.dtype)


def tensor(codes: IntArray) -> torch.Tensor:
    """Codes in torch; u16 becomes int32."""
    return torch.from_numpy(codes.astype(np.int32) if codes.dtype == np.uint16 else codes.copy())


def assert_codes(found: torch.Tensor, expected: IntArray, out: QParams) -> None:
    assert (found.dtype, expected.dtype) == (torch_dtype(out.qtype), out.qtype.dtype)
    np.testing.assert_array_equal(found.numpy(), expected)


def rounded(value: Fraction, mode: Rounding) -> int:
    """A fraction rounded in one step, from the definitions of the modes."""
    floor = math.floor(value)
    away = floor if value < 0 else floor + 1
    at_tie = {
        Rounding.HALF_EVEN: floor + floor % 2,
        Rounding.HALF_UP: floor + 1,
        Rounding.HALF_DOWN: floor,
        Rounding.HALF_AWAY: away,
        Rounding.HALF_ZERO: 2 * floor + 1 - away,
    }
    if mode not in at_tie:
        return floor if mode is Rounding.FLOOR else math.trunc(value)
    if value - floor == Fraction(1, 2):
        return at_tie[mode]
    return floor + (value - floor > Fraction(1, 2))


def rounded_shift(value: int, shift: int, mode: Rounding) -> int:
    """value / 2**shift in Python integers, of a mode that rounds once."""
    return rounded(Fraction(value) / Fraction(2) ** shift, mode)


def times(acc: int, mantissa: int, shift: int, mode: Rounding) -> int:
    """acc * mantissa / 2**shift in Python integers, every mode."""
    if mode is Rounding.NATURAL_PLUS_ONE:
        return rounded_shift(acc * (mantissa + 1), shift, Rounding.HALF_UP)
    if mode in SINGLE:
        return rounded_shift(acc * mantissa, shift, mode)
    exponent = 31 - shift
    high = rounded(Fraction(acc * 2 ** max(exponent, 0) * mantissa, 2**31), Rounding.HALF_UP)
    second = Rounding.HALF_AWAY if mode is Rounding.DOUBLE else Rounding.HALF_UP
    return rounded(Fraction(high, 2 ** max(-exponent, 0)), second)
