"""Operators whose results depend on single codes: ADD, MUL, QUANTIZE and functions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from benchmarks.sweeps.sweep import EVERY_CODE, UNITS, ZERO_POINTS, Sweep, grid, of
from deployq.arithmetic.oracle.lookup import UnaryParams
from deployq.qgraph.nodes import Elementwise, Lookup, Rescale

RATIOS = ((1, 1, 1), (1, 1, 2), (1, 2, 4), (1, 4, 2), (2, 1, 1), (3, 5, 7), (1, 3, 2), (7, 1, 16))
"""Scales of two operands and their result, of some unit."""


def pairs(operator: str, seed: int = 0) -> Iterator[Sweep]:
    """Every pair of codes, for ADD or MUL."""
    rng = np.random.default_rng(seed)
    a, b = (axis.reshape(1, 1, 256, 256) for axis in np.meshgrid(EVERY_CODE, EVERY_CODE))
    node = Elementwise(name=operator, op_type=operator.capitalize(), inputs=("a", "b"), output="y")
    for ratio, unit in product((*RATIOS, tuple(rng.uniform(1, 4, 3))), UNITS):
        for zero_a, zero_y in ZERO_POINTS:
            scales = np.asarray(ratio) * unit
            if operator == "MUL":  # so that ratios of multipliers are those of scales
                scales[2] *= unit * 16
            zeros = (zero_a, int(rng.integers(-128, 128)), zero_y)
            grids = {n: grid(s, z) for n, s, z in zip("aby", scales, zeros, strict=True)}
            yield of(node, grids, a=a, b=b)


def broadcasts(operator: str, seed: int = 0) -> Iterator[Sweep]:
    """ADD or MUL of odd sizes with one operand that is repeated along some axes."""
    rng = np.random.default_rng(seed)
    node = Elementwise(name=operator, op_type=operator.capitalize(), inputs=("a", "b"), output="y")
    for shape in ((2, 5, 1, 1), (2, 1, 7, 9), (2, 5, 7, 9)):
        for zero_a, zero_y in ZERO_POINTS:
            a, b = (rng.integers(-128, 128, size) for size in ((2, 5, 7, 9), shape))
            zeros, scales = (zero_a, int(rng.integers(-128, 128)), zero_y), (1 / 8, 1 / 4, 1 / 2)
            grids = {n: grid(s, z) for n, s, z in zip("aby", scales, zeros, strict=True)}
            yield of(node, grids, a=a, b=b)


def rescales(seed: int = 0) -> Iterator[Sweep]:
    """Every code under other parameters."""
    rng = np.random.default_rng(seed)
    node = Rescale(name="QUANTIZE", op_type="QuantizeLinear", inputs=("x",), output="y")
    gains = (1, 2, 1 / 4, 3 / 8, 3 / 2, 5 / 7, 1 / 3, 2.5 / 256, 100.5, *rng.uniform(0.2, 5, 8))
    for gain, unit, (zero_x, zero_y) in product(gains, UNITS, ZERO_POINTS):
        grids = {"x": grid(unit, zero_x), "y": grid(unit / gain, zero_y)}
        if grids["x"] != grids["y"]:
            yield of(node, grids, x=EVERY_CODE.reshape(1, 256))


def functions(operator: str, seed: int = 0) -> Iterator[Sweep]:
    """Every code through LOGISTIC or TANH."""
    rng = np.random.default_rng(seed)
    op_type, out = {"LOGISTIC": ("Sigmoid", grid(1 / 256, -128)), "TANH": ("Tanh", grid(1 / 128))}[
        operator
    ]
    node = Lookup(name=operator, op_type=op_type, inputs=("x",), output="y")
    for scale, (zero_point, _) in product(
        (1 / 16, 1 / 64, *rng.uniform(0.01, 0.2, 10)), ZERO_POINTS
    ):
        yield of(node, {"x": grid(scale, zero_point), "y": out}, x=EVERY_CODE.reshape(1, 256))


def slopes(seed: int = 0) -> Iterator[Sweep]:
    """Every code through LEAKY_RELU; both multipliers are at least 2**-8, XNNPACK's least."""
    rng = np.random.default_rng(seed)
    gains, slopes = (1, 2, 1 / 2, 3 / 2, 10 / 3, *rng.uniform(0.5, 4, 3)), (0.1, 0.01, 0.3, 1 / 8)
    for gain, slope, unit, (zero_x, zero_y) in product(gains, slopes, UNITS, ZERO_POINTS):
        if gain * slope < 1 / 128:
            continue
        node = Lookup(
            name="LEAKY_RELU", op_type="LeakyRelu", inputs=("x",), output="y",
            params=UnaryParams(alpha=slope),
        )  # fmt: skip
        grids = {"x": grid(unit, zero_x), "y": grid(unit / gain, zero_y)}
        yield of(node, grids, x=EVERY_CODE.reshape(1, 256))


def gelus(seed: int = 0) -> Iterator[Sweep]:
    """Every code through GELU, the exact one and the approximation."""
    rng = np.random.default_rng(seed)
    gains, scales = (
        (1, 2, 1 / 2, *rng.uniform(0.3, 3, 4)),
        (1 / 64, 0.1, *rng.uniform(0.005, 0.2, 9)),
    )
    for approximate, gain, scale in product(("none", "tanh"), gains, scales):
        node = Lookup(
            name="GELU", op_type="Gelu", inputs=("x",), output="y",
            params=UnaryParams(approximate=approximate),
        )  # fmt: skip
        for zero_x, zero_y in ZERO_POINTS:
            grids = {"x": grid(scale, zero_x), "y": grid(scale / gain, zero_y)}
            yield of(node, grids, x=EVERY_CODE.reshape(1, 256))


def hard_swishes(seed: int = 0) -> Iterator[Sweep]:
    """Every code through HARD_SWISH, of inputs whose gate is closed, open and between."""
    rng = np.random.default_rng(seed)
    node = Lookup(name="HARD_SWISH", op_type="HardSwish", inputs=("x",), output="y")
    gains, scales = (1, 2, 1 / 2, *rng.uniform(0.5, 4, 3)), (1 / 256, 1 / 32, 0.1, 3 / 128)
    for gain, scale, (zero_x, zero_y) in product(gains, scales, ZERO_POINTS):
        grids = {"x": grid(scale, zero_x), "y": grid(scale / gain, zero_y)}
        yield of(node, grids, x=EVERY_CODE.reshape(1, 256))
