"""Add, Mul and Concat in 16-bit lanes: integers that stand for scales and zero points (HTP).

    Add:  h = ((a M_a + b M_b) >> 8) - ((z_a M_a + z_b M_b + 128) >> 8)
    Mul:  h = (((a - z_a)(b - z_b) - 256 t) M >> 15) + ((t M + 64) >> 7)
          t = round((z_a - 255/2)(z_b - 255/2) / 128)
    both: y = (h + (z_y << s) + 2**(s - 1)) >> s
    Concat: h = ((x - z_x) M + 2**(k - j - 1)) >> (k - j), y = ((h + 2**(j - 1)) >> j) + z_y
            with M of 15 bits over 2**k and j = min(6, k - 8), of operands that are not computed
            at the output's parameters (``qgraph.concat_makers``)

with codes of unsigned bytes, mantissas rounded half to even and a last shift ``s`` of 7 bits at
most, which keeps ``z_y << s`` in 15 bits. Source: trials on Qualcomm's x86 emulator
(onnxruntime-qnn 2.7.0), all 65,536 pairs of codes at 1,000 settings of Add and 200 of Mul,
all 256 codes at 200 of Concat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.contract import Form
from deployq.arithmetic.precisions import real_multiplier
from deployq.arithmetic.scales import mul_multiplier
from deployq.errors import QuantizationError, UnsupportedError
from deployq.qparams import QParams

SUM_CUT, PRODUCT_CUT = 8, 15
"""Bits that go before the zero points come."""

FIRST_SHIFT_MIN, FRACTION_MIN, FRACTION_MAX = 8, 3, 6
"""Of Concat; it was not seen with fewer bits after the point, at scales 16 times as large."""

LAST_SHIFT_MAX = 7
"""More would shift the output's zero point out of 15 bits."""


@dataclass(frozen=True)
class CutSum:
    """``(((a weight_a + b weight_b) >> 8) + offset) >> shift``, rounded, is the code of a sum."""

    weight_a: int
    weight_b: int
    offset: int
    shift: int


@dataclass(frozen=True)
class CentredProduct:
    """``(((p - moved) mantissa >> 15) + offset) >> shift``, rounded, is the code of a product."""

    mantissa: int
    moved: int
    offset: int
    shift: int


@dataclass(frozen=True)
class TwoRoundings:
    """``(x mantissa >> first) >> second``, each rounded, is the code of ``x`` at another scale."""

    mantissa: int
    first: int
    second: int


def cut_sum(qa: QParams, qb: QParams, out: QParams, form: Form) -> CutSum:
    """Of Add: mantissas whose sum fills ``form.multiplier_bits``, unless that shifts too far.

    Raises:
        UnsupportedError: codes that are no unsigned bytes.
        QuantizationError: the scales of the operands are too large for that of the output.
    """
    za, zb, zy = _zero_points(qa, qb, out, where="Add")
    one, sy = np.float32(1), np.float32(out.scale)
    ra, rb = (
        np.float32(real_multiplier(np.float32(q.scale), one, sy, form.precision)) for q in (qa, qb)
    )
    exponent = int(np.frexp(np.float32(ra + rb))[1])
    shift = min(form.multiplier_bits - exponent - SUM_CUT, LAST_SHIFT_MAX)
    _check_shift(shift, 0, "Add", qa, qb, out)
    weight_a, weight_b = (int(np.rint(np.ldexp(float(r), shift + SUM_CUT))) for r in (ra, rb))
    half = 1 << (SUM_CUT - 1)
    zeros = (za * weight_a + zb * weight_b + half) >> SUM_CUT
    return CutSum(weight_a, weight_b, (zy << shift) - zeros, shift)


def centred_product(qa: QParams, qb: QParams, out: QParams, form: Form) -> CentredProduct:
    """Of Mul: a mantissa of ``form.multiplier_bits``, shorter where that shifts too far.

    Moved by 256 t, the product of codes lies within 16 bits with sign.

    Raises:
        UnsupportedError: codes that are no unsigned bytes.
        QuantizationError: the scales of the operands are too large for that of the output.
    """
    za, zb, zy = _zero_points(qa, qb, out, where="Mul")
    real = float(mul_multiplier(qa, qb, out, form))
    exponent = int(np.frexp(real)[1])
    shift = min(form.multiplier_bits - exponent - PRODUCT_CUT, LAST_SHIFT_MAX)
    _check_shift(shift, 1, "Mul", qa, qb, out)
    mantissa = int(np.rint(np.ldexp(real, shift + PRODUCT_CUT)))
    middle = ((2 * za - 255) * (2 * zb - 255) + 256) >> 9
    rounded = (middle * mantissa + 64) >> 7
    return CentredProduct(mantissa, 256 * middle, (zy << shift) + rounded, shift)


def two_roundings(qx: QParams, out: QParams, form: Form) -> TwoRoundings:
    """Of Concat: a mantissa of ``form.multiplier_bits``.

    Raises:
        UnsupportedError: codes that are no unsigned bytes.
        QuantizationError: the scale of the operand is too large for that of the output.
    """
    _zero_points(qx, out, where="Concat")
    one, sx, sy = np.float32(1), np.float32(qx.scale), np.float32(out.scale)
    real = float(real_multiplier(sx, one, sy, form.precision))
    shift = form.multiplier_bits - int(np.frexp(real)[1])
    first = max(shift - FRACTION_MAX, FIRST_SHIFT_MIN)
    _check_shift(shift - first, FRACTION_MIN, "Concat", qx, out)
    return TwoRoundings(int(np.rint(np.ldexp(real, shift))), first, shift - first)


def _zero_points(*qparams: QParams, where: str) -> list[int]:
    for q in qparams:
        if q.qtype.dtype != np.uint8:
            raise UnsupportedError(
                where,
                "16-bit lanes hold sums and products of unsigned bytes",
                found=str(q.qtype),
                allowed="u8",
                next_step="give every operand and the output 8 bits without sign",
            )
    return [scale_and_zero(q, where)[1] for q in qparams]


def _check_shift(shift: int, lowest: int, where: str, *qparams: QParams) -> None:
    if shift < lowest:
        raise QuantizationError(
            where,
            "the output's scale is coarse enough for a right shift",
            found=f"scales {', '.join(str(q.scale) for q in qparams)}: a shift of {shift}",
            allowed=f"{lowest}..{LAST_SHIFT_MAX}",
            next_step="raise the output scale, or lower those of the operands",
        )
