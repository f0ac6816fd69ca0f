"""Graphs of one operator whose results are full of ties, with the codes to feed them.

Multipliers are ratios of small integers, most of them powers of two, so that many results lie half
way between two codes, where one rounding differs from another. Each graph comes twice: with scales
that make them exactly, and with scales that float32 cannot join exactly, whose results lie beside
the ties, where the last bit of a multiplier decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from deployq.arithmetic.geometry import ConvGeometry, Pads, Pair, PoolGeometry
from deployq.qgraph.nodes import (
    Bounds,
    Elementwise,
    IntegerGraph,
    Linear,
    Lookup,
    Node,
    Pool,
    Rescale,
)
from deployq.qparams import IntArray, PerChannel, PerTensor, QParams
from deployq.qtypes import QType

S8, S32 = QType(8, signed=True), QType(32, signed=True)
EVERY_CODE = np.arange(-128, 128)
ZERO_POINTS = ((0, 0), (-128, 127), (5, -7), (-33, 64), (127, -128))
"""Of input and output: both signs, odd and even, and the edges."""
MULTIPLIERS = (1 / 2, 1 / 4, 3 / 8, 1 / 16, 5 / 32, 1 / 256, 3 / 1024, 1, 2, 1 / 3, 5 / 7, 1 / 96)
"""Of accumulators."""
EXACT, ROUGH = (1 / 2, 1 / 8), (0.0371, 0.0911)
"""Scales of input and output."""
RATIOS = ((1, 1, 1), (1, 1, 2), (1, 2, 4), (1, 4, 2), (2, 1, 1), (3, 5, 7), (1, 3, 2), (7, 1, 16))
"""Scales of two operands and their result, of some unit."""
UNITS = (1 / 64, 0.0173)


@dataclass(frozen=True, eq=False)
class Sweep:
    """One operator and what it is fed.

    Args:
        graph: of one node that computes.
        inputs: graph input to s8 codes, (N, ...).
    """

    graph: IntegerGraph
    inputs: Mapping[str, IntArray]


def grid(scale: float, zero_point: int = 0) -> QParams:
    """Parameters of s8 codes."""
    return QParams(S8, np.asarray(scale, np.float32), np.asarray(zero_point))


def of(node: Node, grids: Mapping[str, QParams], **codes: IntArray) -> Sweep:
    """A graph that is one node; codes in, codes out."""
    graph = IntegerGraph((node,), dict(grids), tuple(codes), (node.output,))
    return Sweep(graph, {name: array.astype(np.int8) for name, array in codes.items()})


def linear(
    operator: str,
    x: IntArray,
    weight: IntArray,
    bias: IntArray,
    multipliers: Any,
    zero_points: tuple[int, int],
    geometry: ConvGeometry | None = None,
    bounds: Bounds | None = None,
    scales: tuple[float, float] = EXACT,
) -> Sweep:
    """A layer whose sums are multiplied by ``multipliers``, one or one for each output channel.

    Args:
        scales: of input and output.
    """
    convolution = geometry is not None
    axis = PerChannel(0 if convolution else 1)
    scale = np.asarray(np.multiply(multipliers, scales[1] / scales[0]), np.float32)
    granularity = axis if scale.ndim else PerTensor()
    node = Linear(
        name=operator, op_type="Conv" if convolution else "Gemm", inputs=("x",), output="y",
        bounds=bounds, weight=weight.astype(np.int64),
        weight_qparams=QParams(S8, scale, granularity=granularity), bias=bias.astype(np.int64),
        bias_type=S32, geometry=geometry or ConvGeometry(),
    )  # fmt: skip
    grids = {"x": grid(scales[0], zero_points[0]), "y": grid(scales[1], zero_points[1])}
    return of(node, grids, x=x)


def every_sum(operator: str) -> Iterator[Sweep]:
    """Accumulators one after the other: each channel adds another bias to every code."""
    bias = np.arange(-64, 64) * 256
    each = np.resize(MULTIPLIERS, len(bias))
    for zero_points, scales in product(ZERO_POINTS, (EXACT, ROUGH)):
        for multiplier in MULTIPLIERS:
            yield _bare_layer(operator, bias, multiplier, zero_points, scales)
        yield _bare_layer(operator, bias, each, zero_points, scales)
        relu = (zero_points[1], 127)
        yield _bare_layer(operator, bias // 64, each, zero_points, scales, relu)


def _bare_layer(
    operator: str,
    bias: IntArray,
    multipliers: Any,
    zero_points: tuple[int, int],
    scales: tuple[float, float],
    bounds: Bounds | None = None,
) -> Sweep:
    """One weight of 1 a channel."""
    channels = len(bias)
    if operator == "FULLY_CONNECTED":
        x, weight = EVERY_CODE.reshape(256, 1), np.ones((1, channels), np.int64)
        return linear(operator, x, weight, bias, multipliers, zero_points, None, bounds, scales)
    groups = channels if operator == "DEPTHWISE_CONV_2D" else 1
    x = np.broadcast_to(EVERY_CODE.reshape(1, 1, 16, 16), (1, groups, 16, 16))
    weight, geometry = np.ones((channels, 1, 1, 1), np.int64), ConvGeometry(groups=groups)
    return linear(operator, x, weight, bias, multipliers, zero_points, geometry, bounds, scales)


WINDOWS: tuple[tuple[Pair, Pair, Pads, Pair], ...] = (
    ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    ((3, 3), (2, 2), (0, 0, 1, 1), (1, 1)),
    ((3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
    ((1, 1), (2, 2), (0, 0, 0, 0), (1, 1)),
    ((5, 2), (1, 3), (2, 0, 1, 1), (1, 1)),
    ((3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    ((2, 3), (3, 1), (0, 2, 0, 0), (1, 2)),
)
"""Kernel, strides, pads and dilations of convolutions: SAME, VALID and neither."""


def windows(operator: str, seed: int = 0) -> Iterator[Sweep]:
    """Convolutions of odd sizes with random codes, pads and steps; groups where CONV_2D."""
    rng = np.random.default_rng(seed)
    depthwise = operator == "DEPTHWISE_CONV_2D"
    shapes = ((6, 6, 6), (6, 12, 6)) if depthwise else ((5, 7, 1), (6, 4, 2), (1, 8, 1))
    for kernel, strides, pads, dilations in WINDOWS:
        for inputs, outputs, groups in shapes:
            x = rng.integers(-128, 128, (2, inputs, 13, 11))
            weight = rng.integers(-127, 128, (outputs, inputs // groups, *kernel))
            geometry = ConvGeometry(strides, pads, dilations, groups)
            fan_in = weight[0].size
            each = 2.0 ** -rng.integers(6, 10, outputs) * rng.choice([1, 1, 3 / 4, 5 / 6], outputs)
            zero_points = ZERO_POINTS[rng.integers(len(ZERO_POINTS))]
            layer = operator, x, weight, rng.integers(-4000, 4000, outputs)
            spread = each / np.sqrt(fan_in)
            yield linear(*layer, spread, zero_points, geometry)
            yield linear(*layer, each, zero_points, geometry)
            yield linear(*layer, each / 4, zero_points, geometry, None, ROUGH)


def rows(seed: int = 0) -> Iterator[Sweep]:
    """Fully connected layers with random weights, per tensor and per channel."""
    rng = np.random.default_rng(seed)
    for features, outputs in ((64, 10), (7, 33), (1, 1), (128, 16)):
        x = rng.integers(-128, 128, (50, features))
        weight = rng.integers(-127, 128, (features, outputs))
        bias = rng.integers(-4000, 4000, outputs)
        for zero_points in ZERO_POINTS:
            each = 2.0 ** -rng.integers(5, 10, outputs)
            yield linear("FULLY_CONNECTED", x, weight, bias, each, zero_points)
            one = float(rng.uniform(0.5, 2)) / (64 * np.sqrt(features))
            for multipliers in (one, each):
                layer = "FULLY_CONNECTED", x, weight, bias, multipliers, zero_points
                yield linear(*layer, scales=ROUGH)


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


POOLS: tuple[tuple[Pair, Pair, Pads], ...] = (
    ((2, 2), (2, 2), (0, 0, 0, 0)),
    ((3, 3), (1, 1), (1, 1, 1, 1)),
    ((3, 3), (2, 2), (0, 0, 1, 1)),
    ((4, 3), (3, 2), (0, 0, 0, 0)),
    ((5, 5), (5, 5), (0, 0, 0, 0)),
    ((1, 2), (1, 2), (0, 0, 0, 0)),
)


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


def every_sweep() -> Iterator[Sweep]:
    """All of them, operator by operator."""
    for operator in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        yield from every_sum(operator)
        yield from windows(operator)
    yield from every_sum("FULLY_CONNECTED")
    yield from rows()
    for operator in ("ADD", "MUL"):
        yield from pairs(operator)
        yield from broadcasts(operator)
    yield from means()
    yield from rescales()
    yield from functions("LOGISTIC")
    yield from functions("TANH")
    yield from pools("AVERAGE_POOL_2D")
    yield from pools("MAX_POOL_2D")
