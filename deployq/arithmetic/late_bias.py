"""Biases that are added between multiplication and rounding."""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.multiplier import DOUBLE_ROUNDINGS, FixedMultiplier
from deployq.arithmetic.rounding import MAX_SHIFT, Float64Array, Int64Array, round_real
from deployq.errors import AccumulatorOverflowError, UnsupportedError
from deployq.qparams import QParams

LATE_KINDS = (Kind.EXACT, Kind.FIXED, Kind.SHIFT)
"""Kinds that can add a bias between multiplication and rounding."""


def late_units(bias: Float64Array, rank: int, axis: int, out: QParams, form: Form) -> Float64Array:
    """Real biases that are added after the multiplication, in units of the output's scale.

    Args:
        bias: float64, (C,).
        rank, axis: of the sums and of their channels.

    Raises:
        UnsupportedError: the form has no place between multiplication and rounding.
    """
    single = form.rounding not in (*DOUBLE_ROUNDINGS, Rounding.NATURAL_PLUS_ONE)
    plain = form.post_shift is None and not form.folds_zero
    if form.kind not in LATE_KINDS or not (single and plain):
        raise UnsupportedError(
            "bias",
            "a bias after the scale is added to accumulator times mantissa, before the one shift",
            found=f"kind {form.kind}, rounding {form.rounding}, post_shift {form.post_shift}, "
            f"zero_point {form.zero_point}",
            allowed="exact, or fixed or shift with a rounding of one step",
            next_step='state bias.order = "before_scale"',
        )
    shape = [1] * rank
    shape[axis] = -1
    y_scale, _ = scale_and_zero(out, "output")
    return np.asarray(bias, np.float64).reshape(shape) / np.float64(y_scale)


def late_steps(late: Float64Array, m: FixedMultiplier) -> Int64Array:
    """The nearest integers that are added to accumulator times mantissa: steps of ``2**-shift``.

    Args:
        late: from :func:`late_units`.

    Raises:
        AccumulatorOverflowError: 62 bits do not hold one.
    """
    steps = np.ldexp(late, m.shift)
    most = float(np.abs(steps).max(initial=0))
    if not most < 2.0**MAX_SHIFT:
        raise AccumulatorOverflowError(
            "bias",
            "a bias after the scale fits 64-bit arithmetic",
            found=f"{most:.6g} steps",
            allowed=f"below 2**{MAX_SHIFT}",
            next_step="check the scales of bias and output",
        )
    return round_real(steps, Rounding.HALF_EVEN)
