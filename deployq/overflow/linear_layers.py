"""The worst case of layers with constant weights: Conv, ConvTranspose, Gemm, MatMul."""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.fan_in import absolute_sums
from deployq.arithmetic.rounding import Int64Array
from deployq.arithmetic.sum_bounds import WHOLE, Window, channel_bounds, most_weight
from deployq.arithmetic.taps import OUTSIDE, roomy_size, window_taps
from deployq.overflow.facts import Channel, Layer
from deployq.overflow.subject import Subject
from deployq.qgraph.nodes import Linear


def convolves(node: Linear) -> bool:
    """True for Conv and ConvTranspose."""
    return node.weight.ndim == 4


def centred_weight(node: Linear) -> Int64Array:
    """(O, C / g, kh, kw) codes less their zero points; (O, K, 1, 1) of a matrix product."""
    zero_point = node.weight_qparams.zero_point
    if convolves(node):
        return node.weight.astype(np.int64) - zero_point.reshape(-1, 1, 1, 1)
    return (node.weight.astype(np.int64) - zero_point).T[:, :, None, None]


def linear_layer(node: Linear, subject: Subject) -> Layer:
    """Bounds of every channel.

    Where the file leaves the map's size free, they hold for every size. They are then reached on
    ``shapes``, unless real zero is no code of the input's range: padding can help a sum then, and
    which cells can lie on padding together depends on the size. A constant input is taken for any
    input of its range.
    """
    name = node.inputs[0]
    weight, values = centred_weight(node), subject.values(name)
    bias = subject.bias(node)
    folded = np.broadcast_to(subject.folded(node), bias.shape)
    shape = input_shape(node, subject)
    sized = subject.shapes is not None or not convolves(node)
    free = not sized and not values.low <= 0 <= values.high
    window = _window(node, shape, optional=free) if convolves(node) else WHOLE
    bounds = channel_bounds(values, weight, bias.tolist(), folded.tolist(), window)
    sums, accumulator = absolute_sums(weight, 0).tolist(), subject.accumulator
    channels = tuple(
        Channel(
            index,
            bound.finished,
            bound.partial,
            weights=total,
            most_weight=most_weight(values, constant, accumulator),
            low_at=bound.low_at if convolves(node) else (),
            high_at=bound.high_at if convolves(node) else (),
        )
        for index, (bound, total, constant) in enumerate(
            zip(bounds, sums, bias.tolist(), strict=True)
        )
    )
    return Layer(
        node.name, node.op_type, node.output, {name: subject.ranges[name]}, {name: shape},
        attained=not free and name not in subject.graph.constants,
        assumed=not sized,
        channels=channels,
    )  # fmt: skip


def input_shape(node: Linear, subject: Subject) -> tuple[int, ...]:
    """Of one sample: as the file has it, or one on which every set of window cells occurs."""
    if subject.shapes is not None:
        return subject.shapes[node.inputs[0]]
    if not convolves(node):
        return 1, node.weight.shape[0]
    rows, columns = node.weight.shape[2:]
    channels = node.weight.shape[1] * node.geometry.groups
    return 1, channels, *roomy_size(node.geometry, (rows, columns))


def _window(node: Linear, shape: tuple[int, ...], *, optional: bool) -> Window:
    size, kernel = (shape[2], shape[3]), (node.weight.shape[2], node.weight.shape[3])
    rows, columns = window_taps(node.geometry, size, kernel)
    return Window(rows != OUTSIDE, columns != OUTSIDE, optional)
