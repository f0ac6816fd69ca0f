"""Means over whole maps, average and max pools."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from benchmarks.sweeps.sweep import UNITS, ZERO_POINTS, Sweep, grid, of
from deployq.arithmetic.geometry import Pads, Pair, PoolGeometry
from deployq.qgraph.nodes import Pool

POOLS: tuple[tuple[Pair, Pair, Pads], ...] = (
    ((2, 2), (2, 2), (0, 0, 0, 0)),
    ((3, 3), (1, 1), (1, 1, 1, 1)),
    ((3, 3), (2, 2), (0, 0, 1, 1)),
    ((4, 3), (3, 2), (0, 0, 0, 0)),
    ((5, 5), (5, 5), (0, 0, 0, 0)),
    ((1, 2), (1, 2), (0, 0, 0, 0)),
    ((12, 10), (1, 1), (0, 0, 0, 0)),
)
"""Kernel, strides and pads over 12 x 10 cells: SAME, VALID and the whole map."""
MAPS = ((3, 9, 14), (40, 11, 8), (64, 7, 10), (5, 33, 21), (32, 16, 16))
"""Channels, rows and columns."""


def means(seed: int = 0) -> Iterator[Sweep]:
    """Means over whole maps of several sizes."""
    rng = np.random.default_rng(seed)
    node = Pool(name="MEAN", op_type="GlobalAveragePool", inputs=("x",), output="y")
    for size in ((8, 8), (7, 7), (5, 5), (3, 5), (1, 1), (4, 4), (16, 16), (6, 6)):
        for gain in (1, 2, 4, 3 / 2, 5 / 7, size[0] * size[1] / 8):
            for zero_x, zero_y in ZERO_POINTS:
                # codes near one level, so that the mean is not always 0
                level = rng.integers(-128, 128, (8, 35, 1, 1))
                x = np.clip(level + rng.integers(-9, 10, (8, 35, *size)), -128, 127)
                for unit in UNITS:
                    grids = {"x": grid(unit, zero_x), "y": grid(unit / gain, zero_y)}
                    yield of(node, grids, x=x)


def means_by_2(seed: int = 0) -> Iterator[Sweep]:
    """Means of windows in steps of 2 over maps of several sizes, codes near one level."""
    rng = np.random.default_rng(seed)
    for side, size, (zero_point, _) in product((2, 3, 5, 7), MAPS, ZERO_POINTS):
        level = rng.integers(-128, 128, (2, size[0], 1, 1))
        x = np.clip(level + rng.integers(-60, 61, (2, *size)), -128, 127)
        qparams = grid(float(rng.uniform(0.01, 1)), zero_point)
        node = Pool(
            name="MEAN", op_type="AveragePool", inputs=("x",), output="y",
            geometry=PoolGeometry((side, side), (2, 2), (0, 0, 0, 0)),
        )  # fmt: skip
        yield of(node, {"x": qparams, "y": qparams}, x=x)


def pools(operator: str, seed: int = 0) -> Iterator[Sweep]:
    """AVERAGE_POOL_2D or MAX_POOL_2D over odd and even sizes."""
    rng = np.random.default_rng(seed)
    op_type = {"AVERAGE_POOL_2D": "AveragePool", "MAX_POOL_2D": "MaxPool"}[operator]
    for kernel, strides, pads in POOLS:
        for zero_point, _ in ZERO_POINTS:
            x = rng.integers(-128, 128, (4, 8, 12, 10))
            qparams = grid(float(rng.uniform(0.01, 0.1)), zero_point)
            node = Pool(
                name=operator, op_type=op_type, inputs=("x",), output="y",
                geometry=PoolGeometry(kernel, strides, pads),
            )  # fmt: skip
            yield of(node, {"x": qparams, "y": qparams}, x=x)
