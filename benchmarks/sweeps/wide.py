"""Sweeps over 16-bit codes with zero point 0, 8-bit weights and sums beyond 32 bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from benchmarks.sweeps.elementwise import RATIOS
from benchmarks.sweeps.layers import EXACT, MULTIPLIERS, ROUGH, WINDOWS, linear
from benchmarks.sweeps.pools import POOLS
from benchmarks.sweeps.sweep import S16, UNITS, Sweep, grid, of
from benchmarks.sweeps.transposed import turned
from deployq.arithmetic.geometry import ConvGeometry, PoolGeometry
from deployq.qgraph.nodes import Concat, Elementwise, Pool, Rescale
from deployq.qparams import FloatArray, IntArray, QParams

LOW, HIGH = S16.qmin, S16.qmax
NEARLY_ONE = (1 - 2.0**-17, 1 - 3 * 2.0**-17, 1 / 2 - 2.0**-17, 1 / 4 - 2.0**-18, 1 - 2.0**-15)
"""Multipliers whose 31 bits carry over when their upper 15 are taken."""
BIG = (2.0**-16, 3 * 2.0**-18, 5 / 7 * 2.0**-20, 2.0**-24)
"""Multipliers of sums beyond 32 bits."""
SCALES = (EXACT, ROUGH)


def wide_sweeps() -> Iterator[Sweep]:
    """All of them, operator by operator."""
    for operator in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        yield from every_sum(operator)
        yield from windows(operator)
    yield from turned(qtype=S16)
    yield from every_sum("FULLY_CONNECTED")
    yield from rows()
    for operator in ("ADD", "MUL"):
        yield from pairs(operator)
    yield from means()
    yield from rescales()
    yield from pools("AVERAGE_POOL_2D")
    yield from pools("MAX_POOL_2D")
    yield from joined()


def codes(seed: int = 0, count: int = 256) -> IntArray:
    """Small codes of both signs, the ends, and random ones."""
    rng = np.random.default_rng(seed)
    ends, small = [LOW, LOW + 1, HIGH - 1, HIGH], np.arange(-count // 4, count // 4)
    return np.concatenate([small, ends, rng.integers(LOW, HIGH + 1, count // 2 - len(ends))])


def every_sum(operator: str) -> Iterator[Sweep]:
    """Sums around those whose results lie in the range, of each multiplier."""
    for multipliers, scales in product((MULTIPLIERS, NEARLY_ONE, BIG), SCALES):
        each = np.resize(multipliers, 128)
        bias = np.rint(np.arange(-64, 64) * 517 / each).astype(np.int64)
        yield _bare_layer(operator, bias, each, scales)
        yield _bare_layer(operator, bias + 1, each, scales, bounds=(0, HIGH))


def _bare_layer(
    operator: str,
    bias: IntArray,
    multipliers: FloatArray,
    scales: tuple[float, float],
    bounds: tuple[int, int] | None = None,
) -> Sweep:
    """One weight of 1 a channel."""
    channels, x = len(bias), codes()
    if operator == "FULLY_CONNECTED":
        weight = np.ones((1, channels), np.int64)
        layer = operator, x.reshape(-1, 1), weight, bias, multipliers, (0, 0), None
        return linear(*layer, bounds, scales, S16)
    groups = channels if operator == "DEPTHWISE_CONV_2D" else 1
    maps = np.broadcast_to(x.reshape(1, 1, 16, 16), (1, groups, 16, 16))
    weight, geometry = np.ones((channels, 1, 1, 1), np.int64), ConvGeometry(groups=groups)
    return linear(operator, maps, weight, bias, multipliers, (0, 0), geometry, bounds, scales, S16)


def windows(operator: str, seed: int = 0) -> Iterator[Sweep]:
    """Convolutions of odd sizes with random codes, pads and steps; groups where CONV_2D."""
    rng = np.random.default_rng(seed)
    depthwise = operator == "DEPTHWISE_CONV_2D"
    shapes = ((6, 6, 6), (6, 12, 6)) if depthwise else ((5, 7, 1), (6, 4, 2), (1, 8, 1))
    for (kernel, strides, pads, dilations), scales in product(WINDOWS, SCALES):
        for inputs, outputs, groups in shapes:
            x = rng.integers(LOW, HIGH + 1, (2, inputs, 13, 11))
            weight = rng.integers(-127, 128, (outputs, inputs // groups, *kernel))
            geometry = ConvGeometry(strides, pads, dilations, groups)
            each = 2.0 ** -rng.integers(6, 10, outputs) * rng.uniform(0.5, 1, outputs)
            each /= np.sqrt(weight[0].size)
            bias = rng.integers(-(10**6), 10**6, outputs)
            yield linear(operator, x, weight, bias, each, (0, 0), geometry, None, scales, S16)


def rows(seed: int = 0) -> Iterator[Sweep]:
    """Fully connected layers with random weights, per tensor and per channel."""
    rng = np.random.default_rng(seed)
    for (features, outputs), scales in product(((64, 10), (7, 33), (1, 1), (128, 16)), SCALES):
        x = rng.integers(LOW, HIGH + 1, (50, features))
        weight = rng.integers(-127, 128, (features, outputs))
        bias = rng.integers(-(10**6), 10**6, outputs)
        for each in (1.37e-3 / features, rng.uniform(0.5, 2, outputs) / (128 * features)):
            yield linear("FULLY_CONNECTED", x, weight, bias, each, (0, 0), None, None, scales, S16)


def pairs(operator: str, seed: int = 0) -> Iterator[Sweep]:
    """Every pair of some codes, for ADD or MUL."""
    rng = np.random.default_rng(seed)
    a, b = (axis.reshape(1, 1, 256, 256) for axis in np.meshgrid(codes(1), codes(2)))
    node = Elementwise(name=operator, op_type=operator.capitalize(), inputs=("a", "b"), output="y")
    for ratio, unit in product((*RATIOS, *rng.uniform(1, 4, (3, 3))), UNITS):
        for gain in (1, 1 << 12) if operator == "MUL" else (1,):
            scales = np.asarray(ratio) * unit
            if operator == "MUL":
                scales[2] *= unit * 16 * gain
            yield of(node, _grids("aby", scales), a=a, b=b)


def means(seed: int = 0) -> Iterator[Sweep]:
    """Means over whole maps of several sizes, of codes near one level."""
    rng = np.random.default_rng(seed)
    node = Pool(name="MEAN", op_type="GlobalAveragePool", inputs=("x",), output="y")
    for size in ((8, 8), (7, 7), (5, 5), (3, 5), (1, 1), (4, 4), (16, 16), (6, 6)):
        for gain, unit in product((1, 2, 4, 3 / 2, 5 / 7, size[0] * size[1] / 8), UNITS):
            level = rng.integers(LOW, HIGH + 1, (8, 35, 1, 1))
            x = np.clip(level + rng.integers(-9, 10, (8, 35, *size)), LOW, HIGH)
            yield of(node, _grids("xy", (unit, unit / gain)), x=x)


def rescales(seed: int = 0) -> Iterator[Sweep]:
    """Every code under another scale."""
    rng = np.random.default_rng(seed)
    node = Rescale(name="QUANTIZE", op_type="QuantizeLinear", inputs=("x",), output="y")
    x = np.arange(LOW, HIGH + 1).reshape(1, 256, 256)
    for gain in (2, 1 / 4, 3 / 8, 3 / 2, 5 / 7, 1 / 3, 2.5 / 256, 100.5, *rng.uniform(0.2, 5, 4)):
        for unit in UNITS:
            yield of(node, _grids("xy", (unit, unit / gain)), x=x)


def pools(operator: str, seed: int = 0) -> Iterator[Sweep]:
    """AVERAGE_POOL_2D or MAX_POOL_2D over odd and even sizes."""
    rng = np.random.default_rng(seed)
    op_type = {"AVERAGE_POOL_2D": "AveragePool", "MAX_POOL_2D": "MaxPool"}[operator]
    for kernel, strides, pads in POOLS:
        x = rng.integers(LOW, HIGH + 1, (6, 8, 12, 10))
        node = Pool(
            name=operator, op_type=op_type, inputs=("x",), output="y",
            geometry=PoolGeometry(kernel, strides, pads),
        )  # fmt: skip
        yield of(node, _grids("xy", (0.0173, 0.0173)), x=x)


def joined(seed: int = 0) -> Iterator[Sweep]:
    """Two tensors of one scale."""
    rng = np.random.default_rng(seed)
    node = Concat(name="CONCAT", op_type="Concat", inputs=("a", "b"), output="y", axis=1)
    for shape in ((2, 5, 16, 16), (3, 1, 40, 40)):
        a, b = rng.integers(LOW, HIGH + 1, (2, *shape))
        yield of(node, _grids("aby", (0.0173,) * 3), a=a, b=b)


def _grids(names: str, scales: Sequence[float] | FloatArray) -> dict[str, QParams]:
    return {n: grid(s, 0, S16) for n, s in zip(names, scales, strict=True)}
