"""What enters the last rounding of each operator, for designed inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from deployq.arithmetic.contract import Rounding
from deployq.arithmetic.float32 import fma
from deployq.arithmetic.multiplier import FixedMultiplier, multiply
from deployq.arithmetic.rounding import Int64Array
from deployq.arithmetic.scales import shape_along
from deployq.golden_vectors.runs import Bench
from deployq.golden_vectors.ties import Signs, is_half, stepped, tie_signs
from deployq.qgraph.nodes import Pool
from deployq.qparams import IntArray
from deployq_exporters.golden.plans import Plan
from deployq_exporters.golden.scaling import FLOAT32, Scaling


def row_signs(
    bench: Bench, plan: Plan, codes: Sequence[IntArray], sums: Int64Array | None
) -> Signs | None:
    """(M, ...) where the last step of each row ties; None where nothing is rounded so.

    Args:
        codes: of each operand, (M, ...).
        sums: finished sums, of operators that have them.
    """
    if sums is not None:
        channels = channels_along(sums, bench.channel_axis(sums.ndim))
        return tie_signs(plan.scalings[0], sums, channels)
    values = [c.astype(np.int64) - zero for c, zero in zip(codes, plan.zeros, strict=False)]
    if plan.op in _SCALED:
        return _joined(map(tie_signs, plan.scalings, _SCALED[plan.op](plan, values)))
    if plan.op == "add_float":
        return _float_sum(plan, values)
    if plan.op == "mean_pool":
        return _means(bench, plan, values[0])
    return None


def unclipped_codes(bench: Bench, plan: Plan, codes: Sequence[IntArray]) -> IntArray:
    """Codes before the output's range clips them, (M, ...).

    Lanes of 16 bits have no wider output: their steps are taken here.
    """
    if not any(scaling.before for scaling in plan.scalings):
        return bench.unclipped.output(codes)
    values = [c.astype(np.int64) - zero for c, zero in zip(codes, plan.zeros, strict=True)]
    return _joined(map(stepped, plan.scalings, _SCALED[plan.op](plan, values)))


def channels_along(sums: Int64Array, axis: int) -> Int64Array:
    """The channel of each sum, broadcastable."""
    return np.arange(sums.shape[axis]).reshape(shape_along(sums.ndim, axis))


def _joined(parts: Iterable[Int64Array]) -> Int64Array:
    """Of one operand as it is, of several side by side."""
    whole = list(parts)
    return whole[0] if len(whole) == 1 else np.stack(whole, axis=1)


def _sum_of_scaled(plan: Plan, values: Sequence[Int64Array]) -> Int64Array:
    parts = zip(plan.scalings[1:], values, strict=True)
    left, right = (_scaled(scaling, v << plan.left_shift) for scaling, v in parts)
    return left + right


def _scaled(scaling: Scaling, values: Int64Array) -> Int64Array:
    chosen = FixedMultiplier(scaling.mantissa, scaling.shift)
    return multiply(values, chosen, Rounding(scaling.rounding))


def _float_sum(plan: Plan, values: Sequence[Int64Array]) -> Signs:
    assert plan.numbers is not None
    reals = np.ldexp(plan.numbers.mantissa.astype(np.float64), -plan.numbers.shift)
    if plan.precision == FLOAT32:
        ra, rb, constant = reals.astype(np.float32)[:3]
        a, b = (v.astype(np.float32) for v in values)
        total = fma(a, ra, fma(b, rb, constant))
    else:
        total = np.asarray((values[0] * reals[0] + values[1] * reals[1]) / reals[2])
    return np.where(is_half(total), np.sign(total), 0).astype(np.int64)


def _means(bench: Bench, plan: Plan, values: Int64Array) -> Signs:
    """(M, C, H', W') of the windows of an average pool."""
    assert isinstance(bench.node, Pool)
    geometry, size = bench.node.geometry, (values.shape[2], values.shape[3])
    zero = plan.zeros[0] if plan.keeps_zero else 0
    if geometry is None:
        whole = values.sum(axis=(2, 3), keepdims=True) + plan.counts[0] * zero
        return tie_signs(plan.scalings[0], whole)
    signs = np.zeros((*values.shape[:2], *geometry.output_size(size)), np.int64)
    for place in np.ndindex(*signs.shape[2:]):
        window = values[(..., *geometry.window(size, *place))].sum(axis=(2, 3))
        count = geometry.divisor(size, *place)
        at = np.flatnonzero(plan.counts == count)[0]
        total = window + count * zero
        signs[(..., *place)] = tie_signs(plan.scalings[0], total, at)
    return signs


_SCALED: dict[str, Callable[[Plan, Sequence[Int64Array]], Sequence[Int64Array]]] = {
    "mul": lambda plan, values: [values[0] * values[1]],
    "add": lambda plan, values: [_sum_of_scaled(plan, values)],
    "concat": lambda plan, values: values,
}
"""What each scaling of an operator's output takes."""
