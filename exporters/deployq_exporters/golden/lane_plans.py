"""Add, Mul and Concat in 16-bit lanes (``deployq.arithmetic.lanes``), step by step."""

from __future__ import annotations

from dataclasses import replace

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.contract import Form, Rounding
from deployq.arithmetic.lanes import (
    PRODUCT_CUT,
    SUM_CUT,
    centred_product,
    cut_sum,
    two_roundings,
)
from deployq.qparams import QParams
from deployq_exporters.golden.scaling import Scaling, cut, whole


def lane_sum(
    qa: QParams, qb: QParams, out: QParams, form: Form
) -> tuple[Scaling, Scaling, Scaling]:
    """Of raw codes: the scalings of their sum and of each of them."""
    by = cut_sum(qa, qb, out, form)
    last = replace(cut(by.shift, form, added=by.offset), before=cut(SUM_CUT, _down(form)))
    return last, whole(by.weight_a), whole(by.weight_b)


def lane_product(qa: QParams, qb: QParams, out: QParams, form: Form) -> Scaling:
    """Of the product of codes without their zero points."""
    by = centred_product(qa, qb, out, form)
    first = cut(PRODUCT_CUT, _down(form), mantissa=by.mantissa, added=-by.moved)
    return replace(cut(by.shift, form, added=by.offset), before=first)


def lane_rescale(qx: QParams, out: QParams, form: Form) -> Scaling:
    """Of an operand of Concat without its zero point."""
    by = two_roundings(qx, out, form)
    last = cut(by.second, form).with_offset(scale_and_zero(out, "output")[1])
    return replace(last, before=cut(by.first, form, mantissa=by.mantissa))


def _down(form: Form) -> Form:
    return replace(form, rounding=Rounding.FLOOR)
