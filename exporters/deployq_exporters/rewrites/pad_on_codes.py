"""DequantizeLinear - Pad - QuantizeLinear on one grid becomes Pad of codes.

    q -> DQ -> Pad(v) -> Q        becomes        q -> Pad(code of v)

Padding is data movement, by the real zero, by an infinity (which saturates) or by codes of the
tensor itself; runtimes that do not know it would run it in float (law 3). ONNX Runtime pads bytes,
and no codes of 16 bits.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from deployq_exporters.rewrites.between_codes import grid_around, put_on_codes
from deployq_exporters.rewrites.rule import Rewrite, constant, initializer_array

BYTES = (ir.DataType.INT8, ir.DataType.UINT8)


def match(node: ir.Node) -> bool:
    if node.op_type != "Pad" or not (_value(node) == 0 or np.isinf(_value(node))):
        return False
    around = grid_around(node)
    zero_point = around[1].inputs[2] if around else None
    return zero_point is not None and zero_point.dtype in BYTES


def _value(node: ir.Node) -> float:
    """The real constant that is added; it plays no part in other modes."""
    stated = initializer_array(node.inputs[2]) if len(node.inputs) > 2 else None
    return 0.0 if stated is None else float(stated)


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    around = grid_around(node)
    assert around is not None  # match saw it
    source, quantize = around
    inputs = [source.inputs[0], node.inputs[1], _code(graph, node, quantize)]
    put_on_codes(graph, node, [ir.node("Pad", inputs, node.attributes, name=node.name)])


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
