"""The last step of an operator, from a finished sum to a code, as integers.

A real number is ``mantissa * 2**-shift``: of a FIXED form the multiplier of the hardware; of a
FLOAT32 or EXACT form the 24 or 53 significant bits of the number that the kernel multiplies by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.late_bias import late_steps, late_units
from deployq.arithmetic.multiplier import FixedMultiplier, choose_fixed
from deployq.arithmetic.rounding import Float64Array, Int64Array
from deployq.errors import UnsupportedError
from deployq.qparams import QParams
from deployq_exporters.golden.counting import Counted

FLOAT32, FLOAT64 = 24, 53
"""Significant bits of the binary floats."""
QUOTIENT = "quotient"
"""The word of a division by the mantissa, half away from zero."""
SMALLEST, LARGEST = 2.0**-100, 2.0**60
"""Of a float32 factor whose products with sums are normal numbers."""


@dataclass(frozen=True, eq=False)
class Scaling:
    """``code = clip(round((value + folded) * mantissa * 2**-shift + late) + offset)``.

    Args:
        mantissa, shift: (1,) or (C,) int64.
        rounding: word of the rounding of integers.
        precision: 0; or the bits to which each step is rounded, as binary floats are, half even.
        post_shift: bits of the shift that follow the product; -1: all.
        folded: what stands for the zero point in the sum, like ``mantissa``; or none.
        divisor: what the product is divided by, with a precision; or none.
        inner: real numbers that are added inside the rounding, with a precision; or none.
        late: a bias that is added inside the rounding, like ``mantissa``: without a precision in
            steps of ``2**-shift``; or none.
        offset: what is added behind the rounding.
        before: a step of integers that the value takes first; or none.
        counted: thresholds that make the code instead; the multiplier is the real number near
            which they lie.
    """

    mantissa: Int64Array
    shift: Int64Array
    rounding: str = Rounding.FLOOR.value
    precision: int = 0
    post_shift: int = -1
    folded: Int64Array | None = None
    divisor: FixedMultiplier | None = None
    inner: FixedMultiplier | None = None
    late: FixedMultiplier | None = None
    offset: int = 0
    before: Scaling | None = None
    counted: Counted | None = None

    def with_offset(self, offset: int) -> Scaling:
        """The same with another ``offset``."""
        return replace(self, offset=offset)

    def of_channels(self, count: int) -> Scaling:
        """The same with a multiplier for each of ``count`` channels."""
        mantissa, shift = (np.broadcast_to(part, (count,)) for part in (self.mantissa, self.shift))
        return replace(self, mantissa=mantissa, shift=shift)

    def with_late(self, reals: Float64Array, out: QParams, form: Form) -> Scaling:
        """The same with a bias, float64 (C,), that is added after the multiplication.

        Raises:
            UnsupportedError: the form has no place for it.
            AccumulatorOverflowError: 62 bits do not hold its steps.
        """
        units = late_units(reals, 1, 0, out, form)
        each = self.of_channels(units.size)
        if self.precision:
            return replace(each, late=binary(units))
        steps = late_steps(units, FixedMultiplier(each.mantissa, each.shift))
        return replace(each, late=FixedMultiplier(steps, each.shift))

    def of_count(self, at: int) -> Scaling:
        """The same with the multiplier at one place."""
        mantissa, shift = self.mantissa[at : at + 1], self.shift[at : at + 1]
        divisor, inner = (None if m is None or m.mantissa.size == 1 else FixedMultiplier(
            m.mantissa[at : at + 1], m.shift[at : at + 1]) for m in (self.divisor, self.inner)
        )  # fmt: skip
        return replace(self, mantissa=mantissa, shift=shift, divisor=divisor or self.divisor,
                       inner=inner or self.inner)  # fmt: skip


def spread(reals: FixedMultiplier, scaling: Scaling) -> FixedMultiplier:
    """Real numbers, one for each multiplier."""
    shape = scaling.mantissa.shape
    mantissa, shift = (np.broadcast_to(part, shape) for part in (reals.mantissa, reals.shift))
    return FixedMultiplier(mantissa, shift)


def kept(offset: int = 0) -> Scaling:
    """Integers as they are."""
    return Scaling(np.ones(1, np.int64), np.zeros(1, np.int64), offset=offset)


def whole(weight: int) -> Scaling:
    """Integers times another."""
    return Scaling(np.array([weight], np.int64), np.zeros(1, np.int64))


def cut(shift: int, form: Form, *, mantissa: int = 1, added: int = 0) -> Scaling:
    """``(value + added) * mantissa >> shift`` with the rounding of a form."""
    chosen = FixedMultiplier(np.array([mantissa], np.int64), np.array([shift], np.int64))
    folded = np.array([added], np.int64) if added else None
    return replace(of_multiplier(chosen, form), folded=folded)


def of_quotient(count: Int64Array) -> Scaling:
    """Division by whole numbers, half away from zero."""
    return Scaling(count, np.zeros_like(count), QUOTIENT)


def of_multiplier(chosen: FixedMultiplier, form: Form) -> Scaling:
    """A fixed multiplier with the rounding of its form."""
    return Scaling(chosen.mantissa.ravel(), chosen.shift.ravel(), form.rounding.value)


def of_real(real: Any, form: Form, *, post_shift: int | None = None) -> Scaling:
    """A multiplication by reals under a form of any kind.

    Args:
        real: rank 0 or (C,), float64.

    Raises:
        QuantizationError: a FIXED or SHIFT form cannot express it.
        UnsupportedError: a float32 factor whose products may be no normal numbers.
    """
    real = np.atleast_1d(np.asarray(real, np.float64))
    if form.kind in (Kind.FIXED, Kind.SHIFT):
        chosen = of_multiplier(choose_fixed(real, form), form)
        return replace(chosen, post_shift=-1 if post_shift is None else post_shift)
    precision = FLOAT32 if form.kind is Kind.FLOAT32 else FLOAT64
    if precision == FLOAT32:
        real = check_normal(real.astype(np.float32)).astype(np.float64)
    exact = binary(real)
    return Scaling(exact.mantissa, exact.shift, Rounding.HALF_EVEN.value, precision)


def of_ratio(numerator: Any, denominator: Any, form: Form) -> Scaling:
    """A multiplication, then a division, each a step of its own in binary floats."""
    scaling, divisors = of_real(numerator, form), np.atleast_1d(np.asarray(denominator, np.float64))
    if scaling.precision == FLOAT32:
        check_normal(divisors)
    return replace(scaling, divisor=binary(divisors))


def binary(real: Any) -> FixedMultiplier:
    """Floats as whole mantissas of 53 bits and shifts: equal to the bit; trailing zeros drop."""
    fraction, exponent = np.frexp(np.asarray(real, np.float64))
    mantissa = np.ldexp(fraction, FLOAT64).astype(np.int64)
    lowest = np.where(mantissa == 0, 1, mantissa & -mantissa)
    zeros = np.frexp(lowest.astype(np.float64))[1].astype(np.int64) - 1
    return FixedMultiplier(mantissa >> zeros, FLOAT64 - exponent.astype(np.int64) - zeros)


def check_normal(factors: Any) -> Any:
    """Float32 factors, refused where a product could leave the normal numbers.

    Raises:
        UnsupportedError: with the first such factor.
    """
    sizes = np.abs(np.atleast_1d(factors)).astype(np.float64)
    odd = sizes[(sizes != 0) & ((sizes < SMALLEST) | (sizes > LARGEST))]
    if odd.size:
        raise UnsupportedError(
            "scales",
            "the steps of a float32 kernel are written as integers where they are normal numbers",
            found=repr(float(odd[0])),
            allowed=f"factors in {SMALLEST}..{LARGEST}",
            next_step="check the scales of this layer",
        )
    return factors
