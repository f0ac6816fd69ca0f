"""Integer nodes as loops over multipliers."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from deployq.qgraph.nodes import Linear, MatMul, Node, Pool
from deployq_targets.latency_model.array import Loop

Shapes = Mapping[str, tuple[int, ...]]


def loop_of(node: Node, shapes: Shapes) -> Loop | None:
    """The loops of a layer or a pool for one sample; None for what multiplies nothing."""
    if isinstance(node, Linear):
        return _layer(node, shapes)
    if isinstance(node, MatMul):
        *batch, rows, columns = shapes[node.output]
        return Loop(1, rows, shapes[node.inputs[0]][-1], columns, groups=prod(batch))
    if isinstance(node, Pool):
        _, channels, rows, columns = shapes[node.output]
        kernel = node.geometry.kernel if node.geometry else shapes[node.inputs[0]][2:]
        return Loop(rows, columns, 1, channels, prod(kernel), depthwise=True)
    return None


def _layer(node: Linear, shapes: Shapes) -> Loop:
    """A transposed convolution multiplies at each cell of its input, others of their output."""
    if node.weight.ndim == 2:
        inputs, outputs = node.weight.shape
        return Loop(1, prod(shapes[node.output][:-1]), inputs, outputs)
    outputs, inputs, *kernel = node.weight.shape
    groups, cells = node.geometry.groups, prod(kernel)
    rows, columns = shapes[node.inputs[0] if node.op_type == "ConvTranspose" else node.output][2:]
    if inputs == 1 and groups > 1:
        return Loop(rows, columns, 1, outputs, cells, depthwise=True)
    return Loop(rows, columns, inputs, outputs // groups, cells, groups)
