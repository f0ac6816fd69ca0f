"""DequantizeLinear - Pad - QuantizeLinear on one grid becomes Pad of codes.

    q -> DQ -> Pad(v) -> Q        becomes        q -> Pad(code of v)

Padding is data movement, by the real zero, by an infinity (which saturates) or by codes of the
tensor itself; runtimes that do not know it would run it in float (law 3). ONNX Runtime pads bytes,
and no codes of 16 bits.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from deployq_exporters.rewrites.rule import Rewrite, constant, initializer_array

BYTES = (ir.DataType.INT8, ir.DataType.UINT8)


def match(node: ir.Node) -> bool:
    if node.op_type != "Pad" or not (_value(node) == 0 or np.isinf(_value(node))):
        return False
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    users = list(node.outputs[0].uses())
    if source is None or source.op_type != "DequantizeLinear" or len(users) != 1:
        return False
    user = users[0][0]
    if user.op_type != "QuantizeLinear" or not _same_grid(source, user):
        return False
    zero_point = user.inputs[2]
    return zero_point is not None and zero_point.dtype in BYTES


def _value(node: ir.Node) -> float:
    """The real constant that is added; it plays no part in other modes."""
    stated = initializer_array(node.inputs[2]) if len(node.inputs) > 2 else None
    return 0.0 if stated is None else float(stated)


def _same_grid(source: ir.Node, user: ir.Node) -> bool:
    for a, b in zip(source.inputs[1:3], user.inputs[1:3], strict=True):
        x, y = initializer_array(a), initializer_array(b)
        if x is None or y is None or not np.array_equal(x, y):
            return False
    return True


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    source = node.inputs[0].producer()  # type: ignore[union-attr] # match saw it
    quantize = next(iter(node.outputs[0].uses()))[0]
    assert source is not None
    old = quantize.outputs[0]
    inputs = [source.inputs[0], node.inputs[1], _code(graph, node, quantize)]
    new = ir.node("Pad", inputs, node.attributes, name=node.name)
    output = new.outputs[0]
    output.name, output.type, output.shape = old.name, old.type, old.shape
    graph.insert_before(node, new)
    ir.convenience.replace_all_uses_with(old, output, replace_graph_outputs=True)
    graph.remove([quantize, node], safe=True)
    if not list(source.outputs[0].uses()):
        graph.remove(source, safe=True)


def _code(graph: ir.Graph, node: ir.Node, quantize: ir.Node) -> ir.Value | None:
    """The zero point, or the code at which an infinity saturates."""
    zero_point = quantize.inputs[2]
    assert zero_point is not None and zero_point.dtype is not None
    if _value(node) == 0:
        return zero_point
    limits = np.iinfo(zero_point.dtype.numpy())
    code = limits.min if _value(node) < 0 else limits.max
    name = f"{quantize.outputs[0].name}.pad"
    return constant(graph, name, np.asarray(code), zero_point.dtype)


RULE = Rewrite("pad on codes", match, rewrite)
