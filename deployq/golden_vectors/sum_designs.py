"""Inputs of operators that sum: weighted layers, products of activations, averages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from deployq.arithmetic.rounding import Int64Array
from deployq.golden_vectors.solving import solve
from deployq.golden_vectors.step_sums import step_sums
from deployq.golden_vectors.tie_sums import added, factor, largest_sum, wanted
from deployq.golden_vectors.windows import Window
from deployq.qparams import IntArray, QParams
from deployq_exporters.golden.plans import Plan

RANDOM = 4
TRIED_CHANNELS, TRIED_SUMS = 64, 96
"""How far the search for inputs that reach a tie goes."""


def window_rows(window: Window, qx: QParams, plan: Plan, rng: np.random.Generator) -> IntArray:
    """(M, *shape) codes: edges, extremes, ties where some are found, random ones.

    One row has every cell one step from the zero point: there each weight counts alone, and no
    sum is large.
    """
    low, zero, high = qx.qtype.qmin, int(qx.zero_point), qx.qtype.qmax
    rows = [np.full(window.shape, code) for code in (zero, low, high)]
    rows.append(np.full(window.shape, zero + 1 if zero < high else zero - 1))
    deviations = low - zero, high - zero
    for place in _extremes(window, plan, *deviations):
        rows.append(zero + place)
    for sign in (1, -1):
        tie = _tie(window, plan, *deviations, sign)
        rows += [] if tie is None else [zero + tie]
    rows += [rng.integers(low, high + 1, window.shape) for _ in range(RANDOM)]
    return np.unique(np.stack(rows).astype(np.int64), axis=0)


def _extremes(window: Window, plan: Plan, low: int, high: int) -> list[Int64Array]:
    """Largest and smallest sums, and codes: of the layer's first, of the other groups too."""
    bounds, scaling, outputs = window.bounds(low, high), plan.scalings[0], range(len(window.offset))
    factors = np.array([factor(scaling, o) for o in outputs])
    beside = np.array([added(scaling, o) for o in outputs])
    rows = []
    for end, best, size in ((0, np.argmin, low), (1, np.argmax, high)):
        for measure in (bounds[end], bounds[end] * factors + beside):
            row = np.zeros(window.shape, np.int64)
            run = len(measure) // window.groups
            for group in range(window.groups):
                o = group * run + int(best(measure[group * run : (group + 1) * run]))
                up = window.coefficients[o] > 0
                row.reshape(-1)[window.cells[o]] = np.where(up == (size == high), high, low)
            rows.append(row)
    return rows


def _tie(window: Window, plan: Plan, low: int, high: int, sign: int) -> Int64Array | None:
    count = len(window.offset)
    channels = np.unique(np.linspace(0, count - 1, min(count, TRIED_CHANNELS)).astype(int))
    smallest, largest = window.bounds(low, high)
    tried = 0
    for o, total in wanted(plan, iter(channels.tolist()), sign):
        if not smallest[o] <= total <= largest[o]:
            continue
        found = solve(window.coefficients[o], low, high, total - int(window.offset[o]))
        if found is not None:
            row = np.zeros(window.shape, np.int64)
            row.reshape(-1)[window.cells[o]] = found
            return row
        tried += 1
        if tried == TRIED_SUMS:
            break
    return None


def product_rows(
    inputs: Sequence[QParams], depth: int, plan: Plan, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """(M, 1, K) and (M, K, 1) codes of a product of two activations."""
    qa, qb = inputs
    ends = [(q.qtype.qmin, int(q.zero_point), q.qtype.qmax) for q in inputs]
    pairs = [(a, b) for a in dict.fromkeys(ends[0]) for b in dict.fromkeys(ends[1])]
    left = [np.full(depth, a) for a, _ in pairs]
    right = [np.full(depth, b) for _, b in pairs]
    for _ in range(RANDOM):
        left.append(rng.integers(qa.qtype.qmin, qa.qtype.qmax + 1, depth))
        right.append(rng.integers(qb.qtype.qmin, qb.qtype.qmax + 1, depth))
    low, zero, high = ends[0]
    for sign in (1, -1):
        tie = _tie(_row_window(right[-1] - int(qb.zero_point)), plan, low - zero, high - zero, sign)
        if tie is not None:
            left.append(zero + tie)
            right.append(right[-1])
    return np.stack(left)[:, None, :].astype(np.int64), np.stack(right)[:, :, None].astype(np.int64)


def product_bounds(inputs: Sequence[QParams], depth: int) -> tuple[int, int]:
    """Smallest and largest sum of ``depth`` products of two codes."""
    ends = [(q.qtype.qmin - int(q.zero_point), q.qtype.qmax - int(q.zero_point)) for q in inputs]
    corners = [a * b for a in ends[0] for b in ends[1]]
    return depth * min(corners), depth * max(corners)


def _row_window(coefficients: Int64Array) -> Window:
    depth = len(coefficients)
    cells = np.arange(depth)[None]
    return Window((depth,), cells, coefficients[None].astype(np.int64), np.zeros(1, np.int64))


def sum_rows(plan: Plan, channels: int, limit: int) -> Int64Array:
    """(P, C) finished sums within ``limit`` from zero: over the output's range, its ties, zero.

    Of a layer that counts thresholds: each of them, and the sum below.
    """
    scaling, columns = plan.scalings[0], []
    if scaling.counted is not None:
        steps = scaling.counted.thresholds.T.clip(-limit, limit)
        both = np.concatenate([steps, steps - 1]).clip(-limit, limit)
        return np.broadcast_to(both, (len(both), channels)).copy()
    most = min(limit, *(largest_sum(scaling, channel) for channel in range(channels)))
    codes = np.linspace(plan.low - 2, plan.high + 2, 9)
    for channel in range(channels):
        near = (codes - added(scaling, channel)) / factor(scaling, channel)
        ties = [next(wanted(plan, iter([channel]), sign), (0, 0))[1] for sign in (1, -1)]
        is_late = scaling.late is not None and not scaling.precision
        beside = step_sums(plan, channel, most) if is_late else []
        sums = np.concatenate([np.trunc(near), ties, beside, [0, 1, -1]])
        columns.append(np.clip(sums, -most, most).astype(np.int64))
    return np.stack(columns, axis=1)


def pool_rows(window: Window, qx: QParams, plan: Plan, rng: np.random.Generator) -> IntArray:
    """(M, 1, H, W) codes of an average pool: edges, ties where some are found, random ones."""
    low, zero, high = qx.qtype.qmin, int(qx.zero_point), qx.qtype.qmax
    count = window.cells.shape[1]
    at = int(np.argmin(np.abs(plan.counts - count)))  # windows that lie inside a map are full
    plan = replace(plan, scalings=(plan.scalings[0].of_count(at),))
    shifted = replace(window, offset=window.offset + count * zero * plan.keeps_zero)
    rows = [np.full(window.shape, code) for code in (zero, low, high)]
    ties = (_tie(shifted, plan, low - zero, high - zero, sign) for sign in (1, -1))
    rows += [zero + tie for tie in ties if tie is not None]
    rows += [rng.integers(low, high + 1, window.shape) for _ in range(RANDOM)]
    return np.unique(np.stack(rows).astype(np.int64), axis=0)
