"""The rescales of Add in integers."""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.multiplier import FixedMultiplier, choose_fixed
from deployq.arithmetic.requant_words import Addition
from deployq.arithmetic.scales import aligning, float64_scales, operand_form, weighted_sum
from deployq.qparams import QParams
from deployq_exporters.golden.lane_plans import lane_sum
from deployq_exporters.golden.scaling import Scaling, of_multiplier, of_real, whole


def add_scalings(
    qa: QParams, qb: QParams, out: QParams, form: Form
) -> tuple[int, tuple[Scaling, Scaling, Scaling]]:
    """Bits that both operands gain, and the scalings of their sum and of each of them."""
    sa, sb, sy = float64_scales(qa, qb, out)
    zero = scale_and_zero(out, "Add")[1]
    if form.kind is Kind.SHIFT:
        fine = min(sa, sb)
        last = of_real(fine / sy, form).with_offset(zero)
        left, right = (int(choose_fixed(fine / s, aligning(form)).shift) for s in (sa, sb))
        return 0, (last, whole(1 << left), whole(1 << right))
    if form.addition is Addition.CUT_SUM:
        return 0, lane_sum(qa, qb, out, form)
    if form.addition is Addition.WEIGHTED_SUM:
        weight_a, weight_b, common = weighted_sum(qa, qb, out, form)
        shift = FixedMultiplier(np.ones(1, np.int64), np.array([common], np.int64))
        last = of_multiplier(shift, form).with_offset(zero)
        return 0, (last, whole(weight_a), whole(weight_b))
    twice = 2 * max(sa, sb)
    last = of_real(twice / (2.0**form.left_shift * sy), form).with_offset(zero)
    each = operand_form(form)
    return form.left_shift, (last, of_real(sa / twice, each), of_real(sb / twice, each))
