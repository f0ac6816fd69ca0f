"""Sums of one channel that lie as near as any to a step of the output."""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.contract import Rounding
from deployq.arithmetic.rounding import MAX_SHIFT, Int64Array, shift_right
from deployq.golden_vectors.tie_sums import sums_near
from deployq_exporters.golden.plans import Plan

ON_CODES = (Rounding.FLOOR.value, Rounding.TRUNC.value)
"""Roundings that step at the codes, not half way between them."""


def step_sums(plan: Plan, channel: int, limit: int) -> list[int]:
    """Two sums that the least change of a late bias, up and down, turns into another code.

    The code rises with the bias, so these show a changed bit of it wherever some sum does. One that
    is not there is 0.

    Args:
        plan: with a late bias in integers.
        limit: of the sums, either way.
    """
    scaling = plan.scalings[0]
    assert scaling.late is not None
    mode, at = Rounding(scaling.rounding), channel if scaling.mantissa.size > 1 else 0
    sums = sums_near(plan, channel, float(scaling.rounding in ON_CODES) or 0.5)
    sums = np.append(sums[np.abs(sums) <= limit], [-limit, limit])  # nearest where no step is
    products = sums * scaling.mantissa[at] + scaling.late.mantissa[at]

    def codes(moved: int) -> Int64Array:
        scaled = shift_right(products + moved, scaling.shift[at], mode)
        return np.clip(scaled + scaling.offset, plan.low, plan.high)

    unmoved, found = codes(0), []
    for sign in (1, -1):
        shown = (sums[codes(sign << bit) != unmoved] for bit in range(MAX_SHIFT))
        found.append(next((int(hits[0]) for hits in shown if hits.size), 0))
    return found
