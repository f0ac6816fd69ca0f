"""deployq::Quantize and deployq::Dequantize become QuantizeLinear and DequantizeLinear.

    Quantize(x, s, z; tensor T, type s4)    -> [Clip] QuantizeLinear(x, T.scale, T.zero_point)
    Dequantize(q, s, z; tensor T, type s4)  -> DequantizeLinear(q, T.scale, T.zero_point)

Every tensor T gets initializers of its own, in the container of its type, and its names: codes are
``T.codes``, the reals read from them ``T.dequantized``, a graph output ``T``. A type that does not
fill its container states its range by a Clip of the reals before the QuantizeLinear:
``low = (qmin - z) s``, ``high = (qmax - z) s``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from deployq.qtypes import QType
from deployq_exporters.integer_ops import DOMAIN
from deployq_exporters.rewrites.rule import Rewrite, constant, initializer_array, replace_node

CONTAINERS = {
    "s2": ir.DataType.INT2, "u2": ir.DataType.UINT2, "s4": ir.DataType.INT4,
    "u4": ir.DataType.UINT4, "s8": ir.DataType.INT8, "u8": ir.DataType.UINT8,
    "s16": ir.DataType.INT16, "u16": ir.DataType.UINT16, "s32": ir.DataType.INT32,
}  # fmt: skip
"""Name of a container QType to the ONNX element type."""

TYPED = ":typed"
"""Mark of the initializers that this rewrite made."""


def match(node: ir.Node) -> bool:
    return node.domain == DOMAIN


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    if node.op_type == "Quantize":
        _quantize(graph, node)
    else:
        _dequantize(graph, node)


def _quantize(graph: ir.Graph, node: ir.Node) -> None:
    tensor, qtype = _text(node, "tensor"), QType.parse(_text(node, "qtype"))
    scale, zero_point = _params(graph, node, tensor, qtype)
    x = node.inputs[0]
    assert x is not None
    if not qtype.fills_container:
        x = _stated_range(graph, node, x, tensor)
    output = replace_node(
        graph, node, "QuantizeLinear", (x, scale, zero_point), name=f"{tensor}.quantize"
    )
    _retype(output, f"{tensor}.codes", CONTAINERS[qtype.container.name])


def _stated_range(graph: ir.Graph, node: ir.Node, x: ir.Value, tensor: str) -> ir.Value:
    """Clip ``x`` to the reals of the lowest and the highest code."""
    scale, zero_point = (initializer_array(value) for value in node.inputs[1:3])
    assert scale is not None and zero_point is not None
    bounds = []
    for end, key in (("low", "qmin"), ("high", "qmax")):
        real = np.float32(node.attributes[key].as_int() - int(zero_point)) * np.float32(scale)
        bounds.append(constant(graph, f"{tensor}.{end}", real, ir.DataType.FLOAT))
    clip = ir.node("Clip", [x, *bounds], name=f"{tensor}.range")
    clip.outputs[0].name = f"{tensor}.clipped"
    clip.outputs[0].type, clip.outputs[0].shape = x.type, x.shape
    graph.insert_before(node, clip)
    return clip.outputs[0]


def _dequantize(graph: ir.Graph, node: ir.Node) -> None:
    tensor, qtype = _text(node, "tensor"), QType.parse(_text(node, "qtype"))
    scale, zero_point = _params(graph, node, tensor, qtype)
    codes = node.inputs[0]
    assert codes is not None
    stored = initializer_array(codes)
    if stored is not None:
        codes = _own(graph, f"{tensor}.codes", stored, CONTAINERS[qtype.container.name])
    per_channel = scale.shape is not None and len(scale.shape) > 0
    attributes: dict[str, Any] = {"axis": node.attributes["axis"].as_int()} if per_channel else {}
    output = replace_node(
        graph, node, "DequantizeLinear", (codes, scale, zero_point),
        attributes=attributes, name=f"{tensor}.dequantize",
    )  # fmt: skip
    name = tensor if output.is_graph_output() else f"{tensor}.dequantized"
    _retype(output, name, ir.DataType.FLOAT)


def _params(graph: ir.Graph, node: ir.Node, tensor: str, qtype: QType) -> tuple[ir.Value, ir.Value]:
    """Scale and zero point of a tensor; Q and DQ of one tensor share them."""
    scale, zero_point = (initializer_array(value) for value in node.inputs[1:3])
    return (
        _own(graph, f"{tensor}.scale", scale, ir.DataType.FLOAT),
        _own(graph, f"{tensor}.zero_point", zero_point, CONTAINERS[qtype.container.name]),
    )


def _own(graph: ir.Graph, name: str, array: Any, dtype: ir.DataType) -> ir.Value:
    """The tensor's own initializer.

    The trace has initializers of these names, but it merged equal ones, so a name may stand for
    another tensor's value: new ones get a mark, which :func:`strip_trace` takes off at the end.
    """
    marked = f"{name}{TYPED}"
    if marked not in graph.initializers:
        constant(graph, marked, array, dtype)
    return graph.initializers[marked]


def _retype(value: ir.Value, name: str, dtype: ir.DataType) -> None:
    value.name = name
    value.type = ir.TensorType(dtype)


def _text(node: ir.Node, key: str) -> str:
    return node.attributes[key].as_string()


RULE = Rewrite("typed integers", match, rewrite)
