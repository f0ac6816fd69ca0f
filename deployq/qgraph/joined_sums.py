"""A sum of codes and a layer without codes of its own becomes part of the layer.

QuantizeLinear(Add(Conv(x, w, b), DequantizeLinear(q)))    is    Conv with the addend q
"""

from __future__ import annotations

from dataclasses import replace

import onnx

from deployq.qgraph.nodes import Linear
from deployq.qgraph.values import Clamp, RealOf, Waiting
from deployq.qgraph.walk import Walk


def join_sum(walk: Walk, node: onnx.NodeProto) -> bool:
    """Read an Add as part of the layer before it; false where it is none."""
    index = _layer_of(walk, node)
    if index is None:
        return False
    value = walk.value(node, index)
    assert isinstance(value, Waiting)
    addend = walk.operand(node, 1 - index)
    walk.wait(node, replace(value.node, inputs=(*value.node.inputs, addend)))
    return True


def joins_a_layer(walk: Walk, node: onnx.NodeProto) -> bool:
    """Whether :func:`join_sum` takes it."""
    return _layer_of(walk, node) is not None


def _layer_of(walk: Walk, node: onnx.NodeProto) -> int | None:
    """The input that is a layer without codes or clamp, beside codes of the same shape."""
    if not walk.joins_sums or node.op_type != "Add":
        return None
    values = [walk.values.get(name) for name in node.input]
    for index, value in enumerate(values):
        if not isinstance(value, Waiting) or not isinstance(value.node, Linear):
            continue
        free = value.clamp == Clamp() and value.node.addend is None
        if free and isinstance(values[1 - index], RealOf) and _same_shape(walk, node):
            return index
    return None


def _same_shape(walk: Walk, node: onnx.NodeProto) -> bool:
    shapes = [walk.shapes.get(name) for name in node.input]
    return shapes[0] is not None and shapes[0] == shapes[1]
