"""Inputs of operators that read each code alone, or two codes: every code, every pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deployq.qparams import IntArray, QParams

MOST = 1 << 16
"""Of pairs that are looked at: all pairs of 8-bit codes."""
KEPT = 48
"""Random pairs beside those that reach a case."""
ROWS = 4


def every_code(qx: QParams, rng: np.random.Generator) -> IntArray:
    """(M,) codes: all of them up to 8 bits, else the edges and random ones."""
    low, high = qx.qtype.qmin, qx.qtype.qmax
    if high - low < 1 << 8:
        return np.arange(low, high + 1, dtype=np.int64)
    edges = [low, low + 1, int(qx.zero_point), high - 1, high]
    return np.concatenate([edges, rng.integers(low, high + 1, 251)]).astype(np.int64)


def all_pairs(inputs: Sequence[QParams], rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """(M,) and (M,) codes: zero points, edges, then all pairs, or random ones of wide codes."""
    qa, qb = inputs
    edges = [(q.qtype.qmin, int(q.zero_point), q.qtype.qmax) for q in inputs]
    sizes = [q.qtype.qmax - q.qtype.qmin + 1 for q in inputs]
    corners = np.array([(a, b) for a in edges[0] for b in edges[1]], np.int64)
    if sizes[0] * sizes[1] <= MOST:
        a, b = np.divmod(np.arange(sizes[0] * sizes[1]), sizes[1])
        rest = np.stack([a + qa.qtype.qmin, b + qb.qtype.qmin], axis=1)
    else:
        rest = np.stack(
            [rng.integers(q.qtype.qmin, q.qtype.qmax + 1, MOST) for q in inputs], axis=1
        )
    pairs = np.concatenate([corners, rest])
    return pairs[:, 0], pairs[:, 1]


def rows_of_codes(qx: QParams, shape: tuple[int, ...], rng: np.random.Generator) -> IntArray:
    """(M, *shape) codes: zero point, edges, a rising row, random ones."""
    low, zero, high = qx.qtype.qmin, int(qx.zero_point), qx.qtype.qmax
    size = int(np.prod(shape))
    rising = low + np.arange(size) % (high - low + 1)
    rows = [np.full(size, code) for code in (zero, low, high)] + [rising, rising[::-1]]
    rows += [rng.integers(low, high + 1, size) for _ in range(ROWS)]
    return np.stack(rows).reshape(-1, *shape).astype(np.int64)
