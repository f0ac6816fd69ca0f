"""A sum is parted from the convolution before it, so that the convolution's codes are rounded.

    Add(DequantizeLinear(q), b)   ->   Add(DequantizeLinear(MaxPool(q)), b)    with windows of one

OpenVINO fuses a Conv, its quantizer, an Add and the Add's quantizer into one kernel, which clips
what the Conv computed to the range of its codes and does not round it: a third of the sum's codes
differ from the file's (OpenVINO 2026.4.1). MaxPool of single cells copies codes, runs on bytes, and
is no part of that kernel; an Identity, a Max of one operand or a Clip is dropped or fused. Codes
that something else reads too are not fused, and a sum that joins a Conv without codes is fused with
that one.
"""

from __future__ import annotations

import onnx_ir as ir

from deployq_exporters.rewrites.rule import Rewrite, is_read_once, producer_of

CLAMPS = ("Relu", "Clip")


def match(node: ir.Node) -> bool:
    """The DequantizeLinear of a convolution's codes that only an Add reads."""
    if node.op_type != "DequantizeLinear":
        return False
    if not (is_read_once(node.inputs[0]) and is_read_once(node.outputs[0])):
        return False
    (reader,) = node.successors()
    joined = any(producer.op_type == "Conv" for producer in reader.predecessors())
    return reader.op_type == "Add" and not joined and _convolution(node) is not None


def _convolution(node: ir.Node) -> ir.Node | None:
    """The Conv whose output, clamped or not, these codes are."""
    clip = producer_of(node.inputs[0], "Clip")  # of a type inside its container
    quantizer = producer_of((clip or node).inputs[0], "QuantizeLinear")
    if quantizer is None:
        return None
    clamp = producer_of(quantizer.inputs[0], *CLAMPS)
    convolution = producer_of((clamp or quantizer).inputs[0], "Conv")
    return convolution if convolution is not None and _axes(convolution) else None


def _axes(convolution: ir.Node) -> int:
    """Spatial axes; 0 where the weight's shape is not known."""
    weight = convolution.inputs[1]
    return 0 if weight is None or weight.shape is None else len(weight.shape) - 2


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    codes, convolution = node.inputs[0], _convolution(node)
    assert codes is not None and convolution is not None
    tensor = str(codes.name).removesuffix(".codes")
    window = {"kernel_shape": [1] * _axes(convolution)}
    copy = ir.node("MaxPool", [codes], window, name=f"{tensor}.parted")
    output = copy.outputs[0]
    output.name, output.type, output.shape = f"{tensor}.parted", codes.type, codes.shape
    graph.insert_before(node, copy)
    node.replace_input_with(0, output)


RULE = Rewrite("part sums", match, rewrite)
