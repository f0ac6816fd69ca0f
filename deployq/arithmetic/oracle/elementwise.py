"""Add and Mul of two quantized tensors (broadcasting as in NumPy)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deployq.arithmetic.codes import Bounds, code_offset
from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.dispatch import pick
from deployq.arithmetic.float32 import fma
from deployq.arithmetic.lanes import PRODUCT_CUT, SUM_CUT, centred_product, cut_sum
from deployq.arithmetic.multiplier import choose_fixed, multiply
from deployq.arithmetic.oracle.codes import centred, nearest, saturate, to_codes
from deployq.arithmetic.requant_words import Addition, Product, ZeroPointPlace
from deployq.arithmetic.rounding import Int64Array, shift_right
from deployq.arithmetic.scales import (
    add_constants,
    aligning,
    float64_scales,
    kernel_zero,
    mul_multiplier,
    operand_form,
    runs_swapped,
    weighted_sum,
)
from deployq.qparams import IntArray, QParams

_Operand = tuple[IntArray, QParams]
_Elementwise = Callable[[_Operand, _Operand, QParams, Form, "Bounds | None"], IntArray]


def add(
    a: IntArray,
    qa: QParams,
    b: IntArray,
    qb: QParams,
    out: QParams,
    form: Form,
    *,
    bounds: Bounds | None = None,
) -> IntArray:
    """Codes of ``a + b``.

    FLOAT32 is ONNX Runtime's QLinearAdd, FIXED is TFLite's ADD with ``form.left_shift`` spare bits,
    SHIFT brings both operands to the finer scale without loss and shifts the sum once.

    Args:
        a, b: codes, broadcastable.
        qa, qb, out: parameters, per tensor.
        bounds: lowest and highest code of a fused Relu or Clip.

    Returns:
        Codes in ``out.qtype.dtype``.

    Raises:
        UnsupportedError: the kind of the form has no Add.
        QuantizationError: the form cannot express a multiplier.
    """
    return pick("Add", _ADD, form)((a, qa), (b, qb), out, form, bounds)


def mul(
    a: IntArray,
    qa: QParams,
    b: IntArray,
    qb: QParams,
    out: QParams,
    form: Form,
    *,
    bounds: Bounds | None = None,
) -> IntArray:
    """Codes of ``a * b``; arguments, result and errors as in ``add``.

    FLOAT32 is ONNX Runtime's QLinearMul, FIXED is TFLite's MUL: one product, one rescale.
    """
    return pick("Mul", _MUL, form)((a, qa), (b, qb), out, form, bounds)


def _add_float32(
    left: _Operand, right: _Operand, out: QParams, form: Form, bounds: Bounds | None
) -> IntArray:
    if runs_swapped(left[0].shape, right[0].shape):
        left, right = right, left
    ra, rb, constant = add_constants(left[1], right[1], out, form)
    a, b = (codes.astype(np.float32) + code_offset(q, form) for codes, q in (left, right))
    value = fma(a, ra, fma(b, rb, constant))  # the output's zero point is inside ``constant``
    return saturate(nearest(value) - code_offset(out, form), out, bounds)


def _add_exact(
    left: _Operand, right: _Operand, out: QParams, form: Form, bounds: Bounds | None
) -> IntArray:
    sa, sb, sy = float64_scales(left[1], right[1], out)
    total = centred(*left).astype(np.float64) * sa + centred(*right).astype(np.float64) * sb
    return to_codes(nearest(total / sy), out, bounds)


def _add_fixed(
    left: _Operand, right: _Operand, out: QParams, form: Form, bounds: Bounds | None
) -> IntArray:
    if form.addition is Addition.WEIGHTED_SUM:
        return _add_weighted(left, right, out, form, bounds)
    if form.addition is Addition.CUT_SUM:
        return _add_cut(left, right, out, form, bounds)
    sa, sb, sy = float64_scales(left[1], right[1], out)
    twice, each = 2 * max(sa, sb), operand_form(form)
    total = _rescale(centred(*left) << form.left_shift, sa / twice, each)
    total = total + _rescale(centred(*right) << form.left_shift, sb / twice, each)
    return to_codes(_rescale(total, twice / (2.0**form.left_shift * sy), form), out, bounds)


def _add_weighted(
    left: _Operand, right: _Operand, out: QParams, form: Form, bounds: Bounds | None
) -> IntArray:
    """XNNPACK: one shift for both mantissas, one sum, one rounding."""
    weight_a, weight_b, common = weighted_sum(left[1], right[1], out, form)
    total = centred(*left) * weight_a + centred(*right) * weight_b
    return to_codes(shift_right(total, common, form.rounding), out, bounds)


def _add_cut(
    left: _Operand, right: _Operand, out: QParams, form: Form, bounds: Bounds | None
) -> IntArray:
    """HTP: raw codes, low bits dropped before the zero points join."""
    by = cut_sum(left[1], right[1], out, form)
    total = left[0].astype(np.int64) * by.weight_a + right[0].astype(np.int64) * by.weight_b
    kept = (total >> SUM_CUT) + by.offset
    return saturate(shift_right(kept, by.shift, form.rounding), out, bounds)


def _add_shift(
    left: _Operand, right: _Operand, out: QParams, form: Form, bounds: Bounds | None
) -> IntArray:
    sa, sb, sy = float64_scales(left[1], right[1], out)
    fine = min(sa, sb)
    bits_a = choose_fixed(fine / sa, aligning(form)).shift
    bits_b = choose_fixed(fine / sb, aligning(form)).shift
    total = (centred(*left) << bits_a) + (centred(*right) << bits_b)
    return to_codes(_rescale(total, fine / sy, form), out, bounds)


def _mul_float32(
    left: _Operand, right: _Operand, out: QParams, form: Form, bounds: Bounds | None
) -> IntArray:
    product = (centred(*left) * centred(*right)).astype(np.float32)
    value = product * mul_multiplier(left[1], right[1], out, form)
    if form.zero_point is ZeroPointPlace.AFTER_ROUNDING:
        return to_codes(nearest(value), out, bounds)
    codes = nearest(value + kernel_zero(out, form))
    return saturate(codes - code_offset(out, form), out, bounds)


def _mul_exact(
    left: _Operand, right: _Operand, out: QParams, form: Form, bounds: Bounds | None
) -> IntArray:
    sa, sb, sy = float64_scales(left[1], right[1], out)
    product = (centred(*left) * centred(*right)).astype(np.float64)
    return to_codes(nearest(product * (sa * sb / sy)), out, bounds)


def _mul_fixed(
    left: _Operand, right: _Operand, out: QParams, form: Form, bounds: Bounds | None
) -> IntArray:
    product = centred(*left) * centred(*right)
    if form.product is Product.CENTRED:
        by = centred_product(left[1], right[1], out, form)
        kept = ((product - by.moved) * by.mantissa >> PRODUCT_CUT) + by.offset
        return saturate(shift_right(kept, by.shift, form.rounding), out, bounds)
    real = np.float64(mul_multiplier(left[1], right[1], out, form))
    return to_codes(_rescale(product, real, form), out, bounds)


def _rescale(value: Int64Array, real: np.float64, form: Form) -> Int64Array:
    return multiply(value, choose_fixed(real, form), form.rounding)


_ADD: dict[Kind, _Elementwise] = {
    Kind.EXACT: _add_exact,
    Kind.FLOAT32: _add_float32,
    Kind.FIXED: _add_fixed,
    Kind.SHIFT: _add_shift,
}
_MUL: dict[Kind, _Elementwise] = {
    Kind.EXACT: _mul_exact,
    Kind.FLOAT32: _mul_float32,
    Kind.FIXED: _mul_fixed,
    Kind.SHIFT: _mul_fixed,
}
