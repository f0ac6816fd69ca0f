"""BATCH_MATMUL: products of two tensors of codes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from benchmarks.sweeps.layers import EXACT, MULTIPLIERS, ROUGH
from benchmarks.sweeps.sweep import EVERY_CODE, ZERO_POINTS, Sweep, grid, of
from deployq.qgraph.nodes import Bounds, MatMul
from deployq.qparams import IntArray

SHAPES = (
    ((1, 50, 64), (1, 64, 10)),
    ((3, 7, 33), (3, 33, 5)),
    ((2, 3, 17, 16), (2, 3, 16, 17)),
    ((1, 4, 65, 8), (1, 4, 8, 64)),
    ((2, 5, 1), (2, 1, 128)),
)
"""Of both factors: one product, several, those of heads, and outer ones."""


def products(seed: int = 0) -> Iterator[Sweep]:
    """Accumulators one after the other, and random codes."""
    rng = np.random.default_rng(seed)
    sums = EVERY_CODE.reshape(1, 256, 1), np.arange(-128, 128).reshape(1, 1, 256)
    for zeros, multiplier, scales in product(ZERO_POINTS, MULTIPLIERS, (EXACT, ROUGH)):
        for second in (0, 3):  # XNNPACK's own kernel, and the one that it leaves them to
            yield _of(*sums, multiplier, (zeros[0], second, zeros[1]), scales)
    for rows, columns in SHAPES:
        for zeros in ZERO_POINTS:
            a, b = (rng.integers(-128, 128, shape) for shape in (rows, columns))
            spread = 1 / (64 * np.sqrt(rows[-1]))
            for multiplier in (2.0 ** -rng.integers(5, 10), float(rng.uniform(0.5, 2)) * spread):
                every = zeros[0], int(rng.choice([0, -128, 5, 127])), zeros[1]
                yield _of(a, b, multiplier, every, ROUGH)
                yield _of(a, b, multiplier, every, EXACT, (zeros[1], 127))


def _of(
    a: IntArray,
    b: IntArray,
    multiplier: float,
    zero_points: tuple[int, int, int],
    scales: tuple[float, float],
    bounds: Bounds | None = None,
) -> Sweep:
    """A product whose sums are multiplied by ``multiplier``.

    Args:
        scales: of ``a`` and of the output.
    """
    node = MatMul(
        name="BATCH_MATMUL", op_type="MatMul", inputs=("a", "b"), output="y", bounds=bounds,
        shifted=bool(zero_points[1]),
    )  # fmt: skip
    second = multiplier * scales[1] / scales[0]
    each = zip("aby", (scales[0], second, scales[1]), zero_points, strict=True)
    return of(node, {name: grid(scale, zero) for name, scale, zero in each}, a=a, b=b)
