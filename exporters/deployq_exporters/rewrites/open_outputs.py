"""An output of a fully connected layer is left in reals; who reads it rounds it, or does not.

    Gemm -> QuantizeLinear -> DequantizeLinear -> T    becomes    Gemm -> Clip -> T

OpenVINO runs the pair as two kernels behind the layer's own, which gives reals as well as codes and
clips them on the way. The codes of the contract are those reals by law 1. The bounds are the ends
of the grid: they may stand for a Relu or a Clip of the network that the grid made redundant.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from deployq_exporters.rewrites.rule import (
    Rewrite,
    constant,
    initializer_array,
    is_read_once,
    producer_of,
)

LAYERS = ("Gemm", "MatMul")


def match(node: ir.Node) -> bool:
    """The DequantizeLinear of a graph output that nothing in the graph reads."""
    if node.op_type != "DequantizeLinear" or not node.outputs[0].is_graph_output():
        return False
    quantizer = producer_of(node.inputs[0], "QuantizeLinear")
    if quantizer is None or not is_read_once(quantizer.outputs[0]) or node.outputs[0].uses():
        return False
    if len(node.inputs) < 3 or _layer(quantizer) is None:
        return False
    return is_read_once(quantizer.inputs[0])


def _layer(quantizer: ir.Node) -> ir.Node | None:
    """The product in front of it, or in front of the sum that adds its bias."""
    value = quantizer.inputs[0]
    total = producer_of(value, "Add")
    if total is not None and _adds_bias(total):
        return producer_of(total.inputs[0], "MatMul")
    return producer_of(value, *LAYERS)


def _adds_bias(node: ir.Node) -> bool:
    """Its second operand is a constant, or one that a DequantizeLinear reads."""
    bias = node.inputs[1]
    read = producer_of(bias, "DequantizeLinear")
    if read is not None:
        bias = read.inputs[0]
    return bias is not None and bias.const_value is not None


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    quantizer, output = producer_of(node.inputs[0], "QuantizeLinear"), node.outputs[0]
    assert quantizer is not None
    name = str(output.name)
    bounds = [
        constant(graph, f"{name}.{end}", real, ir.DataType.FLOAT)
        for end, real in zip(("low", "high"), _ends(node), strict=True)
    ]
    clip = ir.node("Clip", [quantizer.inputs[0], *bounds], name=f"{name}.range")
    reals = clip.outputs[0]
    reals.type, reals.shape = output.type, output.shape
    graph.insert_before(quantizer, clip)
    ir.convenience.replace_all_uses_with(output, reals, replace_graph_outputs=True)
    graph.remove((node, quantizer), safe=True)
    reals.name = name


def _ends(node: ir.Node) -> tuple[np.float32, np.float32]:
    """The reals of the lowest and the highest code."""
    scale, zero_point = (initializer_array(value) for value in node.inputs[1:3])
    assert scale is not None and zero_point is not None
    limits = np.iinfo(zero_point.dtype)
    low, high = (np.float32(end - int(zero_point)) * scale for end in (limits.min, limits.max))
    return np.float32(low), np.float32(high)


RULE = Rewrite("open outputs", match, rewrite)
"""For runtimes whose outputs their adapter puts on the output's grid."""
