"""Sliding windows over two axes: strides, pads and ``auto_pad`` of convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx

from deployq.arithmetic.geometry import ConvGeometry, Pads, Pair, PoolGeometry
from deployq.qgraph.values import attributes, refuse
from deployq.qgraph.walk import Walk


def conv_geometry(walk: Walk, node: onnx.NodeProto, kernel: Sequence[int]) -> ConvGeometry:
    """Window of a Conv, QLinearConv or ConvTranspose.

    Raises:
        UnsupportedError: not two axes, or ``auto_pad`` SAME on an input of unknown size.
    """
    facts = attributes(node)
    size = pair(node, kernel)
    strides, dilations = (pair(node, facts.get(key, (1, 1))) for key in ("strides", "dilations"))
    pads = _pads(walk, node, facts, size, strides, dilations)
    return ConvGeometry(strides, pads, dilations, facts.get("group", 1))


def check_channels(
    walk: Walk, node: onnx.NodeProto, geometry: ConvGeometry, weight: tuple[int, ...]
) -> None:
    """Hold the channels of the input, where they are known, against (O, C / groups, ...) weights.

    Raises:
        InputError: they do not fit.
    """
    shape = walk.shapes.get(node.input[0], ())
    if len(shape) == 4 and isinstance(shape[1], int):
        geometry.check_channels(shape[1], weight)


def pool_geometry(walk: Walk, node: onnx.NodeProto) -> PoolGeometry:
    """Window of an AveragePool or MaxPool; errors as :func:`conv_geometry`."""
    facts = attributes(node)
    kernel, strides = pair(node, facts["kernel_shape"]), pair(node, facts.get("strides", (1, 1)))
    if facts.get("ceil_mode", 0) or set(facts.get("dilations", ())) - {1}:
        raise refuse(
            node,
            "pools round sizes down and have no dilation",
            f"ceil_mode {facts.get('ceil_mode', 0)}, dilations {facts.get('dilations', [1, 1])}",
            "ceil_mode 0, dilations 1",
            next_step="write the pads out and set ceil_mode to 0",
        )
    pads = _pads(walk, node, facts, kernel, strides, (1, 1))
    return PoolGeometry(kernel, strides, pads, bool(facts.get("count_include_pad", 0)))


def pair(node: onnx.NodeProto, values: Sequence[int]) -> Pair:
    """Rows and columns of an attribute.

    Raises:
        UnsupportedError: another number of axes.
    """
    if len(values) != 2:
        raise refuse(
            node,
            "windows have two axes",
            f"{list(values)}",
            "rows, columns",
            next_step="add an axis of length 1",
        )
    return values[0], values[1]


def _pads(
    walk: Walk, node: onnx.NodeProto, facts: dict[str, Any], kernel: Pair, strides: Pair,
    dilations: Pair,
) -> Pads:  # fmt: skip
    """ONNX's order: top, left, bottom, right."""
    auto_pad = facts.get("auto_pad", "NOTSET")
    if auto_pad == "VALID":
        return 0, 0, 0, 0
    if auto_pad == "NOTSET":
        top, left, bottom, right = facts.get("pads", (0, 0, 0, 0))
        return top, left, bottom, right
    totals = [
        _same_total(walk, node, axis, kernel[axis], strides[axis], dilations[axis])
        for axis in (0, 1)
    ]
    small, large = ([t // 2 for t in totals], [t - t // 2 for t in totals])
    begin, end = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
    return begin[0], begin[1], end[0], end[1]


def _same_total(
    walk: Walk, node: onnx.NodeProto, axis: int, kernel: int, stride: int, dilation: int
) -> int:
    """Cells of padding that give ``ceil(size / stride)`` window positions."""
    reach = dilation * (kernel - 1) + 1
    if stride == 1:
        return reach - 1
    shape = walk.shapes.get(node.input[0], ())
    size = shape[2 + axis] if len(shape) == 4 else "unknown"
    if not isinstance(size, int):
        raise refuse(
            node,
            "auto_pad with a stride needs the size of the input",
            f"shape {list(shape)}",
            "static height and width",
            next_step="bind the input's height and width, or write the pads out",
        )
    return max((-(-size // stride) - 1) * stride + reach - size, 0)
