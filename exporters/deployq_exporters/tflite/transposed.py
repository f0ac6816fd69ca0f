"""TRANSPOSE_CONV: its padding is that of a convolution from its output back to its input."""

from __future__ import annotations

from typing import Any

from deployq.arithmetic.geometry import ConvTransposeGeometry, Pair
from deployq.qgraph.nodes import Linear
from deployq_exporters.tflite.layout import file_shape
from deployq_exporters.tflite.movement import emit_slice
from deployq_exporters.tflite.refusals import refuse
from deployq_exporters.tflite.stored import stored_bias, stored_weight
from deployq_exporters.tflite.windows import Window
from deployq_exporters.tflite.writing import Writing


def write_conv_transpose(writing: Writing, node: Linear) -> None:
    """TRANSPOSE_CONV; where neither SAME nor VALID cuts as the pads do, all of it and a
    STRIDED_SLICE behind.

    Raises:
        UnsupportedError: groups or dilations.
    """
    geometry = _geometry(node)
    schema, shape = writing.file.schema, writing.shapes[node.output]
    options: Any = schema.TransposeConvOptionsT()
    options.strideH, options.strideW = geometry.strides
    rows, columns = node.weight.shape[2:]
    way = Window((rows, columns), geometry.strides, geometry.pads).padding((shape[2], shape[3]))
    if way is not None:
        options.padding = getattr(schema.Padding, way)
        inputs = _inputs(writing, node, (shape[2], shape[3]))
        writing.emit(node, "TRANSPOSE_CONV", inputs, options)
        return
    options.padding = schema.Padding.VALID
    top, left, *_ = geometry.pads
    before = writing.shapes[node.inputs[0]]
    whole = geometry.whole_size((before[2], before[3]), (rows, columns))
    size = max(whole[0], top + shape[2]), max(whole[1], left + shape[3])
    made = writing.codes(f"{node.output}.whole", file_shape((*shape[:2], *size)), node.output)
    writing.file.operator("TRANSPOSE_CONV", _inputs(writing, node, size), made, options)
    channels, rows, columns = shape[1:]
    spans = slice(0, channels, 1), slice(top, top + rows, 1), slice(left, left + columns, 1)
    emit_slice(writing, node, made, (slice(0, 1, 1), *spans))


def _geometry(node: Linear) -> ConvTransposeGeometry:
    geometry = node.geometry
    assert isinstance(geometry, ConvTransposeGeometry)
    if geometry.groups > 1 or max(geometry.dilations) > 1:
        raise refuse(
            node,
            "a transposed convolution has one group and a window without gaps",
            found=f"{geometry.groups} groups, dilations {geometry.dilations}",
            allowed="1 group, dilations (1, 1)",
        )
    return geometry


def _inputs(writing: Writing, node: Linear, size: Pair) -> list[int]:
    outputs = node.weight.shape[0]
    shape = writing.integers(f"{node.output}.size", (1, *size, outputs))
    weight = stored_weight(writing, node, node.weight.transpose(0, 2, 3, 1), axis=0)
    return [shape, weight, writing.operand(node.inputs[0]), stored_bias(writing, node, outputs)]
