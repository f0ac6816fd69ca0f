"""Signed 8-bit activations become unsigned: code + 128, zero point + 128, the same reals.

    QuantizeLinear(x, s, int8 z)   ->   QuantizeLinear(x, s, uint8 z + 128)

On x86, ONNX Runtime's default session leaves convolutions of signed activations in float
(session.qdqisint8allowed is 0 there); unsigned ones run in its integer kernels. Weights stay
signed.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from deployq_exporters.rewrites.rule import Rewrite, initializer_array

OFFSET = 128


def match(node: ir.Node) -> bool:
    if node.op_type != "QuantizeLinear" or len(node.inputs) < 3:
        return False
    if node.outputs[0].is_graph_output():  # an integer edge keeps its type
        return False
    zero_point = node.inputs[2]
    return zero_point is not None and zero_point.dtype == ir.DataType.INT8


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    zero_point, codes = node.inputs[2], node.outputs[0]
    assert zero_point is not None
    _shift(zero_point)  # shared with the DequantizeLinear of the same tensor
    codes.type = ir.TensorType(ir.DataType.UINT8)
    for user, _ in codes.uses():
        if user.op_type == "Clip":
            for bound in user.inputs[1:]:
                assert bound is not None
                _shift(bound)
            user.outputs[0].type = ir.TensorType(ir.DataType.UINT8)


def _shift(value: ir.Value) -> None:
    data = initializer_array(value)
    assert data is not None
    shifted = (data.astype(np.int16) + OFFSET).astype(np.uint8)
    value.const_value = ir.Tensor(shifted, dtype=ir.DataType.UINT8, name=str(value.name))
    value.type = ir.TensorType(ir.DataType.UINT8)


RULE = Rewrite("unsigned activations", match, rewrite)
