"""Add and Mul of two quantized tensors; ``oracle.elementwise`` in torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deployq.arithmetic.codes import Bounds, code_offset
from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.dispatch import pick
from deployq.arithmetic.kernels.codes import centred, nearest, saturate, to_codes, to_tensor
from deployq.arithmetic.kernels.float32 import fma
from deployq.arithmetic.kernels.multiplier import multiply
from deployq.arithmetic.kernels.pairs import Elementwise, Operand, of_pairs
from deployq.arithmetic.kernels.rounding import shift_right
from deployq.arithmetic.lanes import PRODUCT_CUT, SUM_CUT, centred_product, cut_sum
from deployq.arithmetic.multiplier import choose_fixed
from deployq.arithmetic.requant_words import Addition, Product, ZeroPointPlace
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
from deployq.qparams import QParams


def add(
    a: Tensor,
    qa: QParams,
    b: Tensor,
    qb: QParams,
    out: QParams,
    form: Form,
    *,
    bounds: Bounds | None = None,
) -> Tensor:
    """Codes of ``a + b``; see ``oracle.elementwise.add``."""
    left, right = (a, qa), (b, qb)
    if form.kind is Kind.FLOAT32 and runs_swapped(tuple(a.shape), tuple(b.shape)):
        left, right = right, left
    return of_pairs(pick("Add", _ADD, form), left, right, out, form, bounds)


def mul(
    a: Tensor,
    qa: QParams,
    b: Tensor,
    qb: QParams,
    out: QParams,
    form: Form,
    *,
    bounds: Bounds | None = None,
) -> Tensor:
    """Codes of ``a * b``; see ``oracle.elementwise.mul``."""
    return of_pairs(pick("Mul", _MUL, form), (a, qa), (b, qb), out, form, bounds)


def _add_float32(
    left: Operand, right: Operand, out: QParams, form: Form, bounds: Bounds | None
) -> Tensor:
    a, b = (codes.float() + code_offset(q, form) for codes, q in (left, right))
    constants = add_constants(left[1], right[1], out, form)
    ra, rb, constant = (to_tensor(number, a) for number in constants)
    value = fma(a, ra, fma(b, rb, constant))  # the output's zero point is inside ``constant``
    return saturate(nearest(value) - code_offset(out, form), out, bounds)


def _add_exact(
    left: Operand, right: Operand, out: QParams, form: Form, bounds: Bounds | None
) -> Tensor:
    sa, sb, sy = float64_scales(left[1], right[1], out)
    total = _real(left, sa) + _real(right, sb)
    return to_codes(nearest(total / to_tensor(sy, total)), out, bounds)


def _add_fixed(
    left: Operand, right: Operand, out: QParams, form: Form, bounds: Bounds | None
) -> Tensor:
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
    left: Operand, right: Operand, out: QParams, form: Form, bounds: Bounds | None
) -> Tensor:
    """XNNPACK: one shift for both mantissas, one sum, one rounding."""
    weight_a, weight_b, common = weighted_sum(left[1], right[1], out, form)
    total = centred(*left) * weight_a + centred(*right) * weight_b
    shift = torch.tensor(common, device=total.device)
    return to_codes(shift_right(total, shift, form.rounding), out, bounds)


def _add_cut(
    left: Operand, right: Operand, out: QParams, form: Form, bounds: Bounds | None
) -> Tensor:
    """HTP: raw codes, low bits dropped before the zero points join."""
    by = cut_sum(left[1], right[1], out, form)
    total = left[0].long() * by.weight_a + right[0].long() * by.weight_b
    kept = (total >> SUM_CUT) + by.offset
    return saturate(_last_shift(kept, by.shift, form), out, bounds)


def _last_shift(kept: Tensor, shift: int, form: Form) -> Tensor:
    return shift_right(kept, torch.tensor(shift, device=kept.device), form.rounding)


def _add_shift(
    left: Operand, right: Operand, out: QParams, form: Form, bounds: Bounds | None
) -> Tensor:
    sa, sb, sy = float64_scales(left[1], right[1], out)
    fine = min(sa, sb)
    bits_a = int(choose_fixed(fine / sa, aligning(form)).shift)
    bits_b = int(choose_fixed(fine / sb, aligning(form)).shift)
    total = (centred(*left) << bits_a) + (centred(*right) << bits_b)
    return to_codes(_rescale(total, fine / sy, form), out, bounds)


def _mul_float32(
    left: Operand, right: Operand, out: QParams, form: Form, bounds: Bounds | None
) -> Tensor:
    product = (centred(*left) * centred(*right)).float()
    value = product * to_tensor(mul_multiplier(left[1], right[1], out, form), product)
    if form.zero_point is ZeroPointPlace.AFTER_ROUNDING:
        return to_codes(nearest(value), out, bounds)
    codes = nearest(value + float(kernel_zero(out, form)))
    return saturate(codes - code_offset(out, form), out, bounds)


def _mul_exact(
    left: Operand, right: Operand, out: QParams, form: Form, bounds: Bounds | None
) -> Tensor:
    sa, sb, sy = float64_scales(left[1], right[1], out)
    product = (centred(*left) * centred(*right)).double()
    return to_codes(nearest(product * to_tensor(sa * sb / sy, product)), out, bounds)


def _mul_fixed(
    left: Operand, right: Operand, out: QParams, form: Form, bounds: Bounds | None
) -> Tensor:
    product = centred(*left) * centred(*right)
    if form.product is Product.CENTRED:
        by = centred_product(left[1], right[1], out, form)
        kept = ((product - by.moved) * by.mantissa >> PRODUCT_CUT) + by.offset
        return saturate(_last_shift(kept, by.shift, form), out, bounds)
    real = np.float64(mul_multiplier(left[1], right[1], out, form))
    return to_codes(_rescale(product, real, form), out, bounds)


def _real(operand: Operand, scale: np.float64) -> Tensor:
    value = centred(*operand).double()
    return value * to_tensor(scale, value)


def _rescale(value: Tensor, real: np.float64, form: Form) -> Tensor:
    return multiply(value, choose_fixed(real, form), form.rounding)


_ADD: dict[Kind, Elementwise] = {
    Kind.EXACT: _add_exact,
    Kind.FLOAT32: _add_float32,
    Kind.FIXED: _add_fixed,
    Kind.SHIFT: _add_shift,
}
_MUL: dict[Kind, Elementwise] = {
    Kind.EXACT: _mul_exact,
    Kind.FLOAT32: _mul_float32,
    Kind.FIXED: _mul_fixed,
    Kind.SHIFT: _mul_fixed,
}
