"""The designed vectors of one layer: made, run, looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deployq.errors import AccumulatorOverflowError
from deployq.golden_vectors.cases import Case, Masks, is_rounded, masks, reached, sum_masks
from deployq.golden_vectors.pair_designs import KEPT, all_pairs, every_code, rows_of_codes
from deployq.golden_vectors.runs import Bench
from deployq.golden_vectors.sum_designs import (
    pool_rows,
    product_bounds,
    product_rows,
    sum_rows,
    window_rows,
)
from deployq.golden_vectors.tie_sums import tie_sums
from deployq.golden_vectors.windows import layer_window, pool_window
from deployq.qgraph.nodes import Concat, Elementwise, Linear, MatMul, Move, Pool, Softmax
from deployq.qparams import IntArray
from deployq_exporters.golden.plans import Plan
from deployq_exporters.golden.trace import Source, Vectors

SEED = 0
MOST_SUM = 1 << 40
EACH = 4
"""Pairs that are kept for each case."""
NARROW = 8
"""Bits of codes of which all pairs are looked at."""
TIES = (Case.TIE_ABOVE, Case.TIE_BELOW)


@dataclass(frozen=True, eq=False)
class Design:
    """Designed vectors of a layer, and why the cases that none reaches are not reached."""

    vectors: tuple[Vectors, ...]
    missed: dict[str, str]


def design(bench: Bench, plan: Plan, shapes: Sequence[tuple[int, ...]]) -> Design:
    """Vectors that hit the edges of one node, as far as a search finds them.

    Args:
        shapes: of the operands in the network.
    """
    rng = np.random.default_rng(SEED)
    codes, bounds = _inputs(bench, plan, shapes, rng)
    if not codes:
        return Design((), {})
    codes, rejected = _accepted(bench, codes)
    sums = bench.sums(codes)
    found = masks(bench, plan, codes, sums, bounds)
    if isinstance(bench.node, Elementwise):
        kept = _chosen(found, len(codes[0]), rng)
        codes = tuple(c[kept] for c in codes)
        found = {case: mask[kept] for case, mask in found.items()}
    rows = np.arange(len(codes[0]))
    made = [Vectors(source=Source.DESIGNED, inputs=codes, sums=sums, output=bench.output(codes),
                    reaches=reached(found, rows))]  # fmt: skip
    if sums is not None:
        made.append(_of_sums(bench, plan, sums.shape[bench.channel_axis(sums.ndim)]))
    missed = {case.value: _why(case, bench, plan, rejected) for case, mask in found.items()
              if not mask.any()}  # fmt: skip
    if is_rounded(bench, plan) and not found.keys() & set(TIES):
        missed |= dict.fromkeys(TIES, "not looked for in this arithmetic")
    return Design(tuple(made), missed)


def _inputs(
    bench: Bench, plan: Plan, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator
) -> tuple[tuple[IntArray, ...], tuple[int, int] | None]:
    """(M, ...) codes of each operand, none for operators without designs; bounds of the sums."""
    node, inputs = bench.summed, bench.inputs
    qx, shape = inputs[0], shapes[0]
    if isinstance(node, Linear):
        window = layer_window(node)
        low, high = qx.qtype.qmin - int(qx.zero_point), qx.qtype.qmax - int(qx.zero_point)
        smallest, largest = window.bounds(low, high)
        return (window_rows(window, qx, plan, rng),), (int(smallest.min()), int(largest.max()))
    if isinstance(node, MatMul):
        depth = shape[-1]
        return product_rows(inputs, depth, plan, rng), product_bounds(inputs, depth)
    if isinstance(node, Pool):
        size = (shape[2], shape[3])
        if plan.op == "mean_pool":
            return (pool_rows(pool_window(node.geometry, size), qx, plan, rng),), None
        return (rows_of_codes(qx, (1, *size), rng),), None
    if isinstance(node, Elementwise):
        return all_pairs(inputs, rng), None
    if isinstance(node, Softmax):
        return (rows_of_codes(qx, shape[-1:], rng),), None
    if isinstance(node, Move) or (isinstance(node, Concat) and node.axis % len(shape) == 0):
        return (), None
    rank = len(shape) if isinstance(node, Concat) else 1
    parts = [every_code(q, rng) for q in inputs]
    longest = max(map(len, parts))
    return tuple(np.resize(p, (longest, *[1] * (rank - 1))) for p in parts), None


def _accepted(bench: Bench, codes: tuple[IntArray, ...]) -> tuple[tuple[IntArray, ...], bool]:
    """The rows that the arithmetic has room for; true where some are left out."""
    try:
        bench.output(codes)
        return codes, False
    except AccumulatorOverflowError:
        kept = [row for row in range(len(codes[0])) if _fits(bench, codes, row)]
        return tuple(c[kept] for c in codes), True


def _fits(bench: Bench, codes: Sequence[IntArray], row: int) -> bool:
    try:
        bench.output([c[row : row + 1] for c in codes])
    except AccumulatorOverflowError:
        return False
    return True


def _chosen(found: Masks, count: int, rng: np.random.Generator) -> IntArray:
    """Some rows of each case, and random ones."""
    rows = [np.flatnonzero(mask)[:EACH] for mask in found.values()]
    return np.unique(np.concatenate([*rows, rng.integers(0, count, min(KEPT, count))]))


def _of_sums(bench: Bench, plan: Plan, channels: int) -> Vectors:
    accumulator = bench.contract.accumulator
    limit = MOST_SUM if accumulator.bits >= 64 else accumulator.high
    sums = sum_rows(plan, channels, min(limit, MOST_SUM))
    reaches = reached(sum_masks(bench, plan, sums), np.arange(len(sums)))
    return Vectors(
        source=Source.SUMS, inputs=(), sums=sums, output=bench.scaled(sums), reaches=reaches
    )


def _why(case: Case, bench: Bench, plan: Plan, rejected: bool) -> str:
    """Why no row reaches a case."""
    if rejected and case not in TIES:
        return "the contract rejects sums that large"
    looked_at = "codes" if len(bench.inputs) == 1 else "pairs of codes"
    if plan.op in ("add", "add_float", "mul", "concat"):
        narrow = all(q.qtype.bits <= NARROW for q in bench.inputs)
        return f"none of {'all' if narrow else 'the tried'} {looked_at} does"
    if case not in TIES:
        return "the largest and smallest sums do not"
    sign = 1 if case is Case.TIE_ABOVE else -1
    channels = range(plan.scalings[0].mantissa.size)
    if not any(tie_sums(plan, channel, sign).size for channel in channels):
        return "no sum between two codes of the output is a tie"
    return "no input that was tried does"
