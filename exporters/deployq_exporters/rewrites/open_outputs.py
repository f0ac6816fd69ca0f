"""An output of a fully connected layer is left in reals; who reads it rounds it, or does not.

    Gemm -> QuantizeLinear -> DequantizeLinear -> T    becomes    Gemm -> T

OpenVINO runs the pair as two kernels behind the layer's own, which gives reals as well as codes.
The codes of the contract are those reals by law 1. A clamp between, also one that a range inside
its container says, keeps the pair: it is arithmetic, not rounding.
"""

from __future__ import annotations

import onnx_ir as ir

from deployq_exporters.rewrites.rule import Rewrite, is_read_once, producer_of

LAYERS = ("Gemm", "MatMul")


def match(node: ir.Node) -> bool:
    """The DequantizeLinear of a graph output that nothing in the graph reads."""
    if node.op_type != "DequantizeLinear" or not node.outputs[0].is_graph_output():
        return False
    quantizer = producer_of(node.inputs[0], "QuantizeLinear")
    if quantizer is None or not is_read_once(quantizer.outputs[0]) or node.outputs[0].uses():
        return False
    layer = _layer(quantizer)
    return layer is not None and is_read_once(quantizer.inputs[0])


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
    reals, name = quantizer.inputs[0], str(output.name)
    assert reals is not None
    reals.type, reals.shape = output.type, output.shape
    ir.convenience.replace_all_uses_with(output, reals, replace_graph_outputs=True)
    graph.remove((node, quantizer), safe=True)
    reals.name = name


RULE = Rewrite("open outputs", match, rewrite)
"""For runtimes whose outputs their adapter puts on the output's grid."""
