"""Integer nodes as loops over multipliers."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from deployq.qgraph.nodes import Linear, MatMul, Move, Node, Pool
from deployq_targets.latency_model.array import Loop, Pair
from deployq_targets.machine import Compute

Shapes = Mapping[str, tuple[int, ...]]


def loop_of(node: Node, shapes: Shapes, compute: Compute) -> Loop | None:
    """The loops of a layer or a pool for one sample; None for what multiplies nothing.

    Args:
        compute: ``moves_as_pools`` and ``dilation_max`` are read.
    """
    if isinstance(node, Linear):
        return _layer(node, shapes, compute.dilation_max)
    if isinstance(node, MatMul):
        *batch, rows, columns = shapes[node.output]
        return Loop(1, rows, shapes[node.inputs[0]][-1], columns, groups=prod(batch))
    if isinstance(node, Pool):
        return _pool(node, shapes)
    if compute.moves_as_pools and isinstance(node, Move):
        cut = node.op_type == "Slice"
        return copy_loop(shapes[node.output], shapes[node.inputs[0]] if cut else None)
    return None


def copy_loop(shape: tuple[int, ...], source: tuple[int, ...] | None = None) -> Loop:
    """A pool of one cell, of a part of ``source`` or of all."""
    channels, rows, columns = shape[1:] if len(shape) == 4 else (shape[-1], 1, prod(shape[:-1]))
    size = (rows, columns)
    if source and len(source) == len(shape) == 4:
        size = (source[2], source[3])
    return Loop(rows, columns, 1, channels, depthwise=True, pool=True, source=size)


def _pool(node: Pool, shapes: Shapes) -> Loop:
    _, channels, rows, columns = shapes[node.output]
    source: Pair = (shapes[node.inputs[0]][2], shapes[node.inputs[0]][3])
    kernel = node.geometry.kernel if node.geometry else source
    return Loop(
        rows, columns, 1, channels, prod(kernel), depthwise=True, pool=node.geometry is not None,
        strides=node.geometry.strides if node.geometry else (1, 1), window=kernel, source=source,
    )  # fmt: skip


def _layer(node: Linear, shapes: Shapes, dilation_max: int | None) -> Loop:
    """A transposed convolution multiplies at each cell of its input, others of their output."""
    if node.weight.ndim == 2:
        inputs, outputs = node.weight.shape
        columns = prod(shapes[node.output][:-1])
        return Loop(1, columns, inputs, outputs, source=(1, columns))
    outputs, inputs, *kernel = node.weight.shape
    groups = node.geometry.groups
    cells = prod(map(_spread, kernel, node.geometry.dilations, [dilation_max] * len(kernel)))
    source: Pair = (shapes[node.inputs[0]][2], shapes[node.inputs[0]][3])
    spread = node.op_type == "ConvTranspose"
    rows, columns = source if spread else shapes[node.output][2:]
    facts = zip(kernel, node.geometry.dilations, strict=True)
    high, wide = ((size - 1) * step + 1 for size, step in facts)
    depthwise = inputs == 1 and groups > 1
    return Loop(
        rows, columns, inputs, outputs if depthwise else outputs // groups, cells,
        groups=1 if depthwise else groups, depthwise=depthwise,
        strides=(1, 1) if spread else node.geometry.strides, window=(high, wide), source=source,
    )  # fmt: skip


def _spread(size: int, dilation: int, most: int | None) -> int:
    """Cells of one axis of a kernel, with zeros where it is dilated more than the hardware does."""
    if most is None or dilation <= most:
        return size
    left = dilation // most if dilation % most == 0 else dilation
    return (size - 1) * left + 1
