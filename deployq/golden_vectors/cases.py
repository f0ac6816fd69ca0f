"""What designed vectors are for, and which of it each row reaches: found by looking, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np

from deployq.arithmetic.rounding import BoolArray, Int64Array
from deployq.golden_vectors.last_steps import channels_along, row_signs, unclipped_codes
from deployq.golden_vectors.runs import Bench
from deployq.golden_vectors.ties import tie_signs
from deployq.qgraph.nodes import Concat, Lookup, Move, Rescale, Softmax
from deployq.qparams import IntArray
from deployq_exporters.golden.plans import Plan


class Case(StrEnum):
    """An edge of an operator's arithmetic."""

    ZERO_POINT = "zero point"  # every code is the zero point of its operand
    LOWEST = "lowest code"  # every code is the lowest of its type
    HIGHEST = "highest code"
    LARGEST_SUM = "largest sum"  # that any input makes, in any channel
    SMALLEST_SUM = "smallest sum"
    CLIPPED_HIGH = "saturation high"  # a code that the output's range cuts
    CLIPPED_LOW = "saturation low"
    TIE_ABOVE = "tie, positive"  # the last rounding of a positive value is a tie; or a threshold
    TIE_BELOW = "tie, negative"


Masks = dict[Case, BoolArray]
"""Case to the rows that reach it; without an entry the case is none of the operator's."""


def masks(
    bench: Bench,
    plan: Plan,
    codes: Sequence[IntArray],
    sums: Int64Array | None,
    bounds: tuple[int, int] | None = None,
) -> Masks:
    """The rows of designed inputs that reach each case.

    Args:
        codes: of each operand, (M, ...).
        sums: as the accumulator holds them.
        bounds: smallest and largest sum of the layer, where they are known.
    """
    found: Masks = {
        Case.ZERO_POINT: _all(codes, [int(q.zero_point) for q in bench.inputs]),
        Case.LOWEST: _all(codes, [q.qtype.qmin for q in bench.inputs]),
        Case.HIGHEST: _all(codes, [q.qtype.qmax for q in bench.inputs]),
    }
    totals = bench.totals(codes)
    if bounds is not None and totals is not None:
        found[Case.SMALLEST_SUM] = _any(totals == bounds[0])
        found[Case.LARGEST_SUM] = _any(totals == bounds[1])
    if not is_rounded(bench, plan):
        return found
    if sums is not None and plan.scalings[0].counted is not None:
        found |= _cut(plan, sums, bench.channel_axis(sums.ndim))
    elif not isinstance(bench.node, Softmax):
        found |= _clipped(unclipped_codes(bench, plan, codes), plan)
    signs = row_signs(bench, plan, codes, sums)
    return found if signs is None else found | _ties(signs)


def is_rounded(bench: Bench, plan: Plan) -> bool:
    """True where an operator computes, and does not only pick codes."""
    if isinstance(bench.node, Concat | Rescale):
        return any(qparams != bench.out for qparams in bench.inputs)
    return not isinstance(bench.node, Move | Lookup) and plan.op != "max_pool"


def sum_masks(bench: Bench, plan: Plan, sums: Int64Array) -> Masks:
    """The rows of (P, C) finished sums that reach each case."""
    signs = tie_signs(plan.scalings[0], sums, np.arange(sums.shape[1]))
    if plan.scalings[0].counted is not None:
        return _cut(plan, sums, 1) | _ties(signs)
    return _clipped(bench.unclipped.scaled(sums), plan) | _ties(signs)


def reached(found: Mapping[Case, BoolArray], rows: IntArray) -> tuple[tuple[str, ...], ...]:
    """The cases of each of ``rows``."""
    return tuple(tuple(case.value for case, mask in found.items() if mask[row]) for row in rows)


def _clipped(unclipped: IntArray, plan: Plan) -> Masks:
    return {
        Case.CLIPPED_HIGH: _any(unclipped > plan.high),
        Case.CLIPPED_LOW: _any(unclipped < plan.low),
    }


def _cut(plan: Plan, sums: Int64Array, axis: int) -> Masks:
    """As :func:`_clipped` where thresholds give no code beyond the range."""
    counted = plan.scalings[0].counted
    assert counted is not None
    above, below = counted.cut(sums, channels_along(sums, axis))
    return {Case.CLIPPED_HIGH: _any(above), Case.CLIPPED_LOW: _any(below)}


def _ties(signs: Int64Array) -> Masks:
    return {Case.TIE_ABOVE: _any(signs > 0), Case.TIE_BELOW: _any(signs < 0)}


def _any(hits: BoolArray) -> BoolArray:
    return np.asarray(hits.reshape(len(hits), -1).any(axis=1))


def _all(codes: Sequence[IntArray], wanted: Sequence[int]) -> BoolArray:
    each = [(c.reshape(len(c), -1) == code).all(axis=1)
            for c, code in zip(codes, wanted, strict=True)]  # fmt: skip
    return np.asarray(np.logical_and.reduce(each))
