"""Fixed multipliers: an integer mantissa and a right shift that stand for a real number.

``real = mantissa * 2**-shift``. A mantissa of b bits lies in [2**(b-1), 2**b), so Q31 (TFLite,
TOSA) is b = 31 and TFLite's exponent is ``31 - shift``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deployq.arithmetic.contract import Form, Kind, Rounding
from deployq.arithmetic.long_products import MOST, multiply_long
from deployq.arithmetic.requant_words import Mantissa
from deployq.arithmetic.rounding import (
    Float64Array,
    Int64Array,
    check_shift,
    round_real,
    shift_right,
)
from deployq.errors import AccumulatorOverflowError, ProfileError, QuantizationError

Q31 = 31
DOUBLE_ROUNDINGS = (Rounding.DOUBLE, Rounding.DOUBLE_HALF_UP)


@dataclass(frozen=True, eq=False)
class FixedMultiplier:
    """``mantissa * 2**-shift``, both int64 and of one shape (rank 0 or one per channel)."""

    mantissa: Int64Array
    shift: Int64Array

    @property
    def real(self) -> Float64Array:
        """The value that the hardware multiplies by."""
        return np.ldexp(self.mantissa.astype(np.float64), -self.shift)

    def reshape(self, shape: tuple[int, ...]) -> FixedMultiplier:
        """The same multipliers, broadcastable to another shape."""
        return FixedMultiplier(self.mantissa.reshape(shape), self.shift.reshape(shape))


def choose_fixed(real: Float64Array | float, form: Form) -> FixedMultiplier:
    """The closest mantissa and shift of a FIXED or SHIFT form.

    The mantissa is rounded half away from zero; a REDUCED one comes from that of 31 bits. Where
    the form has one shift alone, mantissas do not fill their bits: they are rounded half to even
    to that shift (XNNPACK's QUANTIZE). Under ``shared_shift`` the largest multiplier fills the
    mantissa and smaller ones lose bits; one that is 2**-bits times smaller becomes 0, which is what
    such hardware does.

    Args:
        real: positive float64 multipliers, any shape.
        form: its kind, multiplier_bits, mantissa, shift_min, shift_max and shared_shift are used.

    Raises:
        ProfileError: the form has no fixed multiplier, double rounding without Q31, or a reduced
            mantissa with one shift or with no bit less.
        QuantizationError: a shift is out of the form's range, or, for SHIFT, a multiplier is not a
            power of two.
    """
    real = np.asarray(real, np.float64)
    _check_form(form)
    if not (np.isfinite(real).all() and (real > 0).all()):
        raise QuantizationError(
            "multiplier",
            "a real multiplier is positive and finite",
            found=str(real.ravel()[:4].tolist()),
            allowed="> 0",
            next_step="check the scales",
        )
    chosen = _power_of_two(real) if form.kind is Kind.SHIFT else _mantissa(real, form)
    if form.shared_shift:
        chosen = _share_shift(real, chosen, form)
    _check_shift(chosen, real, form)
    return chosen


def _check_form(form: Form) -> None:
    if form.kind not in (Kind.FIXED, Kind.SHIFT):
        raise ProfileError(
            "form",
            "only fixed and shift forms have an integer multiplier",
            found=form.kind.value,
            allowed="fixed, shift",
        )
    if form.kind is Kind.SHIFT and form.rounding in (*DOUBLE_ROUNDINGS, Rounding.NATURAL_PLUS_ONE):
        raise ProfileError(
            "form.rounding",
            "a shift has no mantissa and rounds once",
            found=form.rounding.value,
            allowed="a rounding of one step",
        )
    if not 1 <= form.multiplier_bits <= 32:
        raise ProfileError(
            "form.multiplier_bits",
            "a mantissa has 1 to 32 bits",
            found=str(form.multiplier_bits),
            allowed="1..32",
        )
    if form.rounding in DOUBLE_ROUNDINGS and form.multiplier_bits != Q31:
        raise ProfileError(
            "form.rounding",
            "double rounding is the high half of a Q31 product",
            found=f"multiplier_bits = {form.multiplier_bits}",
            allowed="multiplier_bits = 31",
            next_step="state half_up or half_away for another width",
        )

    if form.mantissa is Mantissa.REDUCED:
        one_shift = form.shared_shift or form.shift_min == form.shift_max
        if form.kind is not Kind.FIXED or form.multiplier_bits >= Q31 or one_shift:
            raise ProfileError(
                "form.mantissa",
                "a reduced mantissa is the upper part of one of 31 bits, with a shift of its own",
                found=f"kind {form.kind}, multiplier_bits = {form.multiplier_bits}",
                allowed=f"fixed, fewer than {Q31} bits, a shift for each multiplier",
            )


def _one_shift(real: Float64Array, form: Form) -> FixedMultiplier:
    mantissa = round_real(np.ldexp(real, form.shift_max), Rounding.HALF_EVEN)
    wide = np.flatnonzero((mantissa >> form.multiplier_bits).ravel())
    if wide.size:
        raise QuantizationError(
            f"multiplier of channel {wide[0]}",
            "the mantissa fits its bits under the one shift of the hardware",
            found=f"{mantissa.ravel()[wide[0]]} with shift {form.shift_max}",
            allowed=f"below 2**{form.multiplier_bits}",
            next_step="raise the output scale",
        )
    return FixedMultiplier(mantissa, np.full_like(mantissa, form.shift_max))


def _mantissa(real: Float64Array, form: Form) -> FixedMultiplier:
    if form.shift_min == form.shift_max:
        return _one_shift(real, form)
    fraction, exponent = np.frexp(real)  # real = fraction * 2**exponent, fraction in [1/2, 1)
    reduced = form.mantissa is Mantissa.REDUCED
    bits = Q31 if reduced else form.multiplier_bits
    mantissa = round_real(np.ldexp(fraction, bits), Rounding.HALF_AWAY)
    # a split shift keeps its place: 2**bits stays a mantissa (HTP)
    overflow = (mantissa == 1 << bits) & (form.post_shift is None)
    shift = bits - exponent.astype(np.int64) - overflow
    chosen = FixedMultiplier(np.where(overflow, mantissa >> 1, mantissa), np.asarray(shift))
    return _reduce(chosen, form.multiplier_bits) if reduced else chosen


def _reduce(m: FixedMultiplier, bits: int) -> FixedMultiplier:
    """The upper bits of mantissas of 31, half up; one that would carry over stays all ones."""
    dropped = Q31 - bits
    upper = (m.mantissa + (1 << (dropped - 1))) >> dropped
    return FixedMultiplier(np.minimum(upper, (1 << bits) - 1), m.shift - dropped)


def _power_of_two(real: Float64Array) -> FixedMultiplier:
    fraction, exponent = np.frexp(real)
    wrong = np.flatnonzero(fraction.ravel() != 0.5)
    if wrong.size:
        raise QuantizationError(
            f"multiplier of channel {wrong[0]}",
            "a shift is an exact power of two",
            found=repr(float(real.ravel()[wrong[0]])),
            allowed="2**k",
            next_step="put the scales on powers of two before the weights are rounded",
        )
    shift = np.asarray(1 - exponent.astype(np.int64))
    return FixedMultiplier(np.ones_like(shift), shift)


def _share_shift(real: Float64Array, each: FixedMultiplier, form: Form) -> FixedMultiplier:
    shift = np.full_like(each.shift, each.shift.min(initial=form.shift_max))
    if form.kind is Kind.FIXED:
        mantissa = round_real(np.ldexp(real, shift), Rounding.HALF_AWAY)
        return FixedMultiplier(mantissa, shift)
    other = np.flatnonzero((each.shift != shift).ravel())
    if other.size:
        raise QuantizationError(
            f"multiplier of channel {other[0]}",
            "all channels of the layer share one shift",
            found=f"shift {each.shift.ravel()[other[0]]}",
            allowed=f"shift {shift.flat[0]}",
            next_step="quantize the weights of this layer per tensor",
        )
    return each


def _check_shift(chosen: FixedMultiplier, real: Float64Array, form: Form) -> None:
    shift = chosen.shift.ravel()
    wrong = np.flatnonzero((shift < form.shift_min) | (shift > form.shift_max))
    if not wrong.size:
        return
    channel = int(wrong[0])
    smaller = shift[channel] > form.shift_max
    raise QuantizationError(
        f"multiplier of channel {channel}",
        "the right shift lies in the range of the hardware",
        found=f"shift {shift[channel]} for {float(real.ravel()[channel])!r}",
        allowed=f"{form.shift_min}..{form.shift_max}",
        next_step=f"{'raise' if smaller else 'lower'} the weight scale of this channel, or "
        f"{'lower' if smaller else 'raise'} the output scale",
    )


def least_multiplier(form: Form) -> float:
    """The least real multiplier that a FIXED form surely has a right shift for.

    A little less is rounded up to a mantissa with one shift less, or not.
    """
    least = 2.0 ** (form.multiplier_bits - 1 - form.shift_max - form.sum_cut)
    return float(least * (1 + 2.0**-form.multiplier_bits))


def multiply(
    acc: Int64Array, m: FixedMultiplier, mode: Rounding, addend: Int64Array | None = None
) -> Int64Array:
    """``acc * m`` rounded to int64, not yet saturated.

    DOUBLE is gemmlowp's ``SaturatingRoundingDoublingHighMul`` and ``RoundingDivideByPOT`` as
    TFLite joins them (left shift first); DOUBLE_HALF_UP rounds both steps half up (LiteRT's
    optimised kernels). Where a left shift would leave int32 the exact value is kept: the
    reference leaves that case undefined.

    Args:
        acc: int64 sums, any shape.
        m: broadcastable to ``acc``.
        mode: any mode; one that rounds once with an addend.
        addend: what is added to ``acc * mantissa`` before the shift.

    Raises:
        AccumulatorOverflowError: the product could leave 63 bits; of a mode that rounds once and
            shifts to the right, :data:`~deployq.arithmetic.long_products.MOST`.
    """
    acc, most = np.asarray(acc, np.int64), 0 if addend is None else magnitude(addend)
    if is_long(magnitude(acc), m, mode, most):
        added = np.int64(0) if addend is None else addend
        return multiply_long(acc, raised(m, mode), m.shift, last_step(mode), np.asarray(added))
    if addend is not None:
        return shift_right(acc * m.mantissa + addend, m.shift, mode)
    return _BY_MODE.get(mode, _single)(acc, m, mode)


def magnitude(values: Int64Array) -> int:
    """The largest absolute value; -2**63 has one too."""
    return max(int(values.max(initial=0)), -int(values.min(initial=0)))


def multiply_split(
    acc: Int64Array, m: FixedMultiplier, post_shift: int, mode: Rounding
) -> Int64Array:
    """As :func:`multiply`, with ``post_shift`` bits of the shift behind the product.

    The others come first and round down: low bits of the sum do not reach the product.
    """
    acc = np.asarray(acc, np.int64)
    check_split(magnitude(acc), m, post_shift)
    kept = shift_right(acc, m.shift - post_shift, Rounding.FLOOR)
    return shift_right(kept * m.mantissa, post_shift, mode)


def check_split(largest: int, m: FixedMultiplier, post_shift: int) -> None:
    """Raises AccumulatorOverflowError when the product of a split shift leaves 63 bits."""
    left = max(post_shift - int(m.shift.min(initial=post_shift)), 0)
    plain = FixedMultiplier(m.mantissa, np.maximum(m.shift, 0))
    product = _product(largest << left, plain, Rounding.FLOOR, 0)
    if product >= 1 << 63:
        raise _too_long(largest, product, 1 << 63)


def divided(m: FixedMultiplier, count: Int64Array) -> FixedMultiplier:
    """The multiplier over a whole number: its mantissa gains floor(log2 count) bits and is cut off.

    LiteRT's reference MEAN; there the gained bits stop at 32 and at a shift of 62.
    """
    gained = np.frexp(count.astype(np.float64))[1].astype(np.int64) - 1
    gained = np.minimum(gained, np.minimum(32, 2 * Q31 - m.shift))
    return FixedMultiplier((m.mantissa << gained) // count, m.shift + gained)


def is_long(largest: int, m: FixedMultiplier, mode: Rounding, addend: int = 0) -> bool:
    """Whether ``largest * mantissa + addend`` needs more than 63 bits, and may have them.

    Raises:
        AccumulatorOverflowError: it may not.
    """
    product = _product(largest, m, mode, addend)
    if product < 1 << 63:
        return False
    once = mode not in DOUBLE_ROUNDINGS and int(m.shift.min(initial=0)) >= 0
    if not once or product >= MOST:
        raise _too_long(largest, product, MOST if once else 1 << 63)
    check_shift(m.shift)
    return True


def _too_long(largest: int, product: int, most: int) -> AccumulatorOverflowError:
    return AccumulatorOverflowError(
        "requantization",
        "accumulator times mantissa fits 64-bit arithmetic, or 95 bits where it is rounded once "
        "and shifted to the right as a whole",
        found=f"a sum of {largest} and {product.bit_length()} bits",
        allowed=f"{most.bit_length() - 1} bits",
        next_step="use a shorter multiplier (multiplier_bits) or a narrower accumulator",
    )


def _product(largest: int, m: FixedMultiplier, mode: Rounding, addend: int) -> int:
    """Its largest magnitude, with gemmlowp's nudge added to it."""
    unshifted = Q31 if mode in DOUBLE_ROUNDINGS else 0
    left = max(unshifted - int(m.shift.min(initial=unshifted)), 0)
    product = (largest * (int(m.mantissa.max(initial=0)) + 1) + addend) << left
    return product + (1 << 30)


def raised(m: FixedMultiplier, mode: Rounding) -> Int64Array:
    """The mantissa that a mode multiplies by."""
    return m.mantissa + 1 if mode is Rounding.NATURAL_PLUS_ONE else m.mantissa


def last_step(mode: Rounding) -> Rounding:
    """The mode that rounds the shift of one that multiplies once."""
    return Rounding.HALF_UP if mode is Rounding.NATURAL_PLUS_ONE else mode


def _single(acc: Int64Array, m: FixedMultiplier, mode: Rounding) -> Int64Array:
    return shift_right(acc * raised(m, mode), m.shift, last_step(mode))


def _high_multiply(acc: Int64Array, m: FixedMultiplier) -> tuple[Int64Array, Int64Array]:
    """gemmlowp: (2 a b + nudge) / 2**32 as (a b + nudge) / 2**31, the division truncating."""
    exponent = Q31 - m.shift
    product = (acc << np.maximum(exponent, 0)) * m.mantissa
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    return shift_right(product + nudge, Q31, Rounding.TRUNC), np.maximum(-exponent, 0)


def _double(acc: Int64Array, m: FixedMultiplier, mode: Rounding) -> Int64Array:
    high, right = _high_multiply(acc, m)
    mask = (np.int64(1) << right) - 1
    threshold = (mask >> 1) + (high < 0)
    return (high >> right) + ((high & mask) > threshold)


def _double_half_up(acc: Int64Array, m: FixedMultiplier, mode: Rounding) -> Int64Array:
    high, right = _high_multiply(acc, m)
    return shift_right(high, right, Rounding.HALF_UP)


_BY_MODE: dict[Rounding, Callable[[Int64Array, FixedMultiplier, Rounding], Int64Array]] = {
    Rounding.DOUBLE: _double,
    Rounding.DOUBLE_HALF_UP: _double_half_up,
}
