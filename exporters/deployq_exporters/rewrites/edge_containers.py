"""Integer edges keep their codes while a dialect moves the inside into other containers.

    x int8 -> DequantizeLinear(s, z)    becomes    x -> DQ(s, z) -> Q(s, z) x.codes -> DQ(s, z)
    QuantizeLinear(s, z) -> T int8      becomes    Q(s, z) T.codes -> DQ(s, z) -> Q(s, z) -> T

The pair is exact, ``round((q - z) s / s) = q - z``, and what follows may change the inner type and
zero point. Whoever feeds the files of a bundle feeds them the same numbers; codes under 8 bits, for
which few runtimes have tensors at an edge, lie one a byte there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from deployq_exporters.rewrites.rule import Rewrite, constant, initializer_array, producer_of
from deployq_exporters.rewrites.widen_containers import WIDER

EDGE = ".edge"
"""In the names of the nodes and parameters that this rewrite makes."""


def match(node: ir.Node) -> bool:
    """An edge whose type the dialect changes inside: signed, or under 8 bits."""
    value = _edge(node)
    return value is not None and (value.dtype == ir.DataType.INT8 or value.dtype in WIDER)


def match_narrow(node: ir.Node) -> bool:
    """An edge under 8 bits."""
    value = _edge(node)
    return value is not None and value.dtype in WIDER


def _edge(node: ir.Node) -> ir.Value | None:
    """The codes that this node reads from a graph input or writes to a graph output."""
    if EDGE in str(node.name):
        return None
    if node.op_type == "DequantizeLinear":
        value = node.inputs[0]
        return value if value is not None and value.is_graph_input() else None
    if _quantize(node) is not None and node.outputs[0].is_graph_output():
        return node.outputs[0]
    return None


def _quantize(node: ir.Node) -> ir.Node | None:
    """The QuantizeLinear whose codes a node writes: its own, or those that its Clip keeps."""
    if node.op_type == "QuantizeLinear":
        return node
    source = node.inputs[0] if node.op_type == "Clip" else None
    return producer_of(source, "QuantizeLinear")


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    if node.op_type == "DequantizeLinear":
        _convert_input(graph, node)
    else:
        _convert_output(graph, node)


def _convert_input(graph: ir.Graph, node: ir.Node) -> None:
    x, inner = node.inputs[0], node.inputs[1:3]
    assert x is not None and x.dtype is not None
    name, dtype = str(x.name), x.dtype
    readers = [(user, index) for user, index in x.uses() if user.op_type == "DequantizeLinear"]
    pair = _pair(name, x, (inner[0], _own_zero_point(graph, node, name)), inner)
    for made in pair:
        graph.insert_before(node, made)
    codes = pair[1].outputs[0]
    codes.name, codes.type, codes.shape = f"{name}.codes", ir.TensorType(dtype), x.shape
    for user, index in readers:
        user.replace_input_with(index, codes)
    x.type = ir.TensorType(WIDER.get(dtype, dtype))


def _convert_output(graph: ir.Graph, node: ir.Node) -> None:
    codes, quantize = node.outputs[0], _quantize(node)
    assert codes.dtype is not None and quantize is not None
    name, dtype, inner = str(codes.name), codes.dtype, quantize.inputs[1:3]
    pair = _pair(name, codes, inner, (inner[0], _own_zero_point(graph, quantize, name)))
    anchor = node
    for made in pair:
        graph.insert_after(anchor, made)
        anchor = made
    output = pair[1].outputs[0]
    output.type, output.shape = ir.TensorType(WIDER.get(dtype, dtype)), codes.shape
    for index, value in enumerate(graph.outputs):
        if value is codes:
            graph.outputs[index] = output
    codes.name, output.name = f"{name}.codes", name


def _pair(
    name: str,
    codes: ir.Value,
    read: Sequence[ir.Value | None],
    written: Sequence[ir.Value | None],
) -> list[ir.Node]:
    """DequantizeLinear and QuantizeLinear on one scale."""
    dequantize = ir.node("DequantizeLinear", [codes, *read], name=f"{name}{EDGE}.dequantize")
    reals = dequantize.outputs[0]
    reals.name, reals.shape = f"{name}{EDGE}.real", codes.shape
    reals.type = ir.TensorType(ir.DataType.FLOAT)
    return [dequantize, ir.node("QuantizeLinear", [reals, *written], name=f"{name}{EDGE}.quantize")]


def _own_zero_point(graph: ir.Graph, node: ir.Node, name: str) -> ir.Value:
    """The edge's zero point, apart from the inner one, which a later rewrite may shift."""
    zero_point = node.inputs[2]
    stated = initializer_array(zero_point)
    assert stated is not None and zero_point is not None and zero_point.dtype is not None
    dtype = WIDER.get(zero_point.dtype, zero_point.dtype)
    return constant(graph, f"{name}{EDGE}.zero_point", stated.astype(np.int32), dtype)


RULE = Rewrite("edge containers", match, rewrite)
NARROW = Rewrite("edge containers of codes under 8 bits", match_narrow, rewrite)
