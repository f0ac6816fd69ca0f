"""Convolutions and fully connected layers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from benchmarks.sweeps.sweep import EVERY_CODE, S8, ZERO_POINTS, Sweep, grid, of
from deployq.arithmetic.geometry import ConvGeometry, Pads, Pair
from deployq.qgraph.nodes import Bounds, Linear
from deployq.qparams import IntArray, PerChannel, PerTensor, QParams
from deployq.qtypes import QType

S32 = QType(32, signed=True)
MULTIPLIERS = (1 / 2, 1 / 4, 3 / 8, 1 / 16, 5 / 32, 1 / 256, 3 / 1024, 1, 2, 1 / 3, 5 / 7, 1 / 96)
"""Of accumulators."""
EXACT, ROUGH = (1 / 2, 1 / 8), (0.0371, 0.0911)
"""Scales of input and output."""
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
    qtype: QType = S8,
) -> Sweep:
    """A layer whose sums are multiplied by ``multipliers``, one or one for each output channel.

    Args:
        scales: of input and output.
        qtype: of their codes.
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
    ends = zip("xy", scales, zero_points, strict=True)
    return of(node, {name: grid(scale, zero, qtype) for name, scale, zero in ends}, x=x)


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
