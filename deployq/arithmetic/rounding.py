"""Single-step rounding of reals and of right shifts, in every mode of ``contract.Rounding``.

Both functions take the lower neighbour and ask one question: does this mode move up? Save FLOOR and
TRUNC, the modes differ only in the answer at a tie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from deployq.arithmetic.contract import Rounding
from deployq.errors import ProfileError, QuantizationError

Int64Array: TypeAlias = npt.NDArray[np.int64]
Float64Array: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

MAX_SHIFT = 62
"""Longest shift: twice the remainder of a longer one leaves int64."""

# (above half, at half, floor) -> move up; "floor" is the lower neighbour.
_MOVES_UP: dict[Rounding, Callable[[BoolArray, BoolArray, Int64Array], BoolArray]] = {
    Rounding.HALF_EVEN: lambda above, tie, floor: above | (tie & (floor % 2 != 0)),
    Rounding.HALF_UP: lambda above, tie, floor: above | tie,
    Rounding.HALF_AWAY: lambda above, tie, floor: above | (tie & (floor >= 0)),
    Rounding.HALF_DOWN: lambda above, tie, floor: above,
    Rounding.HALF_ZERO: lambda above, tie, floor: above | (tie & (floor < 0)),
}


def single_step(mode: Rounding) -> None:
    """Raises ProfileError for a mode that rounds twice or changes the mantissa."""
    if mode not in _MOVES_UP and mode not in (Rounding.FLOOR, Rounding.TRUNC):
        raise ProfileError(
            "rounding",
            "this step rounds once",
            found=mode.value,
            allowed=", ".join(m.value for m in (*_MOVES_UP, Rounding.FLOOR, Rounding.TRUNC)),
            next_step="state double roundings only for a form of kind 'fixed'",
        )


def round_real(x: Float64Array | float, mode: Rounding) -> Int64Array:
    """Integers next to ``x``.

    Args:
        x: float64, any shape, no NaN. Beyond +-2**62 the result is +-2**62, which saturates
            every code.
        mode: a mode that rounds once.

    Raises:
        ProfileError: ``mode`` is DOUBLE, DOUBLE_HALF_UP or NATURAL_PLUS_ONE.
    """
    single_step(mode)
    bounded = np.clip(np.asarray(x, np.float64), -(2.0**62), 2.0**62)
    if mode is Rounding.TRUNC:
        return np.asarray(np.trunc(bounded)).astype(np.int64)
    lower = np.floor(bounded)
    floor = np.asarray(lower).astype(np.int64)
    if mode is Rounding.FLOOR:
        return floor
    # not x - floor > 1/2: that difference rounds to 1/2 for the float64 above -1/2. From 2**52 on
    # every x is an integer, and the middle is no longer exact.
    middle = lower + 0.5
    tie = (bounded == middle) & (bounded != lower)
    return floor + _MOVES_UP[mode](bounded > middle, tie, floor)


def shift_right(value: Int64Array | int, shift: int | Int64Array, mode: Rounding) -> Int64Array:
    """``value / 2**shift``, rounded to an integer.

    Args:
        value: int64, any shape.
        shift: bits in [-62, 62], broadcastable to ``value``; negative shifts to the left, where
            the caller guards against overflow.
        mode: a mode that rounds once.

    Raises:
        ProfileError: ``mode`` does not round once.
        QuantizationError: a shift beyond 62 bits.
    """
    single_step(mode)
    shifts = np.asarray(shift, np.int64)
    check_shift(shifts)
    right = np.maximum(shifts, 0)
    shifted_left = np.asarray(value, np.int64) << np.maximum(-shifts, 0)
    floor = np.asarray(shifted_left >> right)
    return floor + round_up(shifted_left - (floor << right), right, floor, mode)


def round_up(rest: Int64Array, right: Int64Array, floor: Int64Array, mode: Rounding) -> BoolArray:
    """True where ``floor + rest / 2**right`` rounds to ``floor + 1``.

    Args:
        rest: in [0, 2**right).
        right: 0 to 62.
        mode: a mode that rounds once.
    """
    if mode is Rounding.FLOOR:
        return np.zeros(np.shape(floor), np.bool_)
    if mode is Rounding.TRUNC:
        return np.asarray((rest != 0) & (floor < 0))
    whole = np.int64(1) << right
    return _MOVES_UP[mode](2 * rest > whole, 2 * rest == whole, floor)


def check_shift(shifts: Int64Array) -> None:
    """Raises QuantizationError unless every shift lies in [-62, 62]."""
    if shifts.size and int(np.abs(shifts).max()) > MAX_SHIFT:
        raise QuantizationError(
            "shift",
            "a shift stays inside 64-bit arithmetic",
            found=str(shifts.ravel()[:4]),
            allowed=f"-{MAX_SHIFT}..{MAX_SHIFT}",
        )
